(select id from {{ ref('texts') }} {{ dbt.except() }} select 2 as id)
union all
(select id * 10 from {{ ref('texts') }} {{ dbt.intersect() }} select 20)
