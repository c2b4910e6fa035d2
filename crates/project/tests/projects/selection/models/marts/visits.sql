select e.*, c.name as country from {{ ref('stg_events') }} e join {{ ref('countries') }} c on e.country = c.id
