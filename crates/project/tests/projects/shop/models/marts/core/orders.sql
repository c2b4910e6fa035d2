{{
    config(
        materialized='incremental',
        unique_key='id',
        incremental_strategy='merge',
        on_schema_change='append_new_columns',
        alias='order_facts',
        post_hook=["select 1", "{{ note('after ' ~ this) }}"]
    )
}}
with lines as (
    select * from {{ ref('stg_orders') }}
    {% if is_incremental() %}
    where id > (select max(id) from {{ this }})
    {% endif %}
)
select lines.id, {{ cents('lines.amount') }} as amount, payments.amount as paid
from lines
left join {{ ref('stg_payments') }} as payments on payments.order_id = lines.id
