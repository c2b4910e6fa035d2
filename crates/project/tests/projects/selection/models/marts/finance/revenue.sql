{{ config(access='public') }}
select customer_id, sum(amount) as revenue from {{ ref('orders') }} group by 1
