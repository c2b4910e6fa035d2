{{ config(materialized='incremental', unique_key='order_id', tags=['nightly', 'hourly']) }}
select o.order_id, o.customer_id, o.amount from {{ ref('stg_orders') }} o
join {{ ref('customers') }} c on o.customer_id = c.customer_id
