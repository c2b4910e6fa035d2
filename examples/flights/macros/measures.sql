{#- All give a double with one decimal, and NULL where there is nothing to divide by. -#}
{% macro percent(part, whole) -%}
    round(100 * cast({{ part }} as double precision) / nullif({{ whole }}, 0), 1)
{%- endmacro %}

{% macro average(expression) -%}
    round(avg(cast({{ expression }} as double precision)), 1)
{%- endmacro %}

{% macro percentile(share, expression) -%}
    round(percentile_cont({{ share }}) within group (order by cast({{ expression }} as double precision)), 1)
{%- endmacro %}
