{% snapshot orders_history %}
{{ config(unique_key='order_id', strategy='check', check_cols=['amount']) }}
select * from {{ ref('stg_orders') }}
{% endsnapshot %}
