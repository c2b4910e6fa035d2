{% test is_recent(model, column, days=1) %}
{{ config(severity='warn') }}
select * from {{ model }} where {{ column }} < current_date - {{ days }}
union all
select * from {{ ref('stg_customers') }} where false
{% endtest %}
