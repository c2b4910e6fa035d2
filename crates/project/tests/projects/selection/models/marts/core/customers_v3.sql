select customer_id, name, 1 as one from {{ ref('stg_customers') }}
