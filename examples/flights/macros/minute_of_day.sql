{#- 1745 -> 1065. Clock times come as HHMM numbers; 2400 (midnight as the end of a day) gives 1440. -#}
{% macro minute_of_day(hhmm) -%}
    cast(({{ hhmm }} - {{ hhmm }} % 100) * 60 / 100 as bigint) + {{ hhmm }} % 100
{%- endmacro %}
