{{ config(tags=['slow']) }}
select r.customer_id from {{ ref('revenue') }} r left join {{ ref('orders') }} o on o.customer_id = r.customer_id where o.customer_id is null
