{{ config(tags=['orders']) }}
select id, customer_id, status, amount
from {{ source('raw', 'orders') }}
where ordered_at >= '{{ var("start_date") }}'
