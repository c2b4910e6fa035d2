select * from {{ ref('shop', 'orders') }} join {{ ref('customers', v=1) }} using (id)
join {{ ref('customers') }} using (id) join {{ ref('countries') }} using (id)
