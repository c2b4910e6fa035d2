{#- The English name for a number that counts from `start`, e.g. name_of('month', month_names()). -#}
{% macro name_of(expression, names, start=1) -%}
    case {{ expression }}
    {%- for name in names %}
        when {{ loop.index0 + start }} then '{{ name }}'
    {%- endfor %}
    end
{%- endmacro %}

{% macro month_names() -%}
    {{ return(['January', 'February', 'March', 'April', 'May', 'June', 'July',
               'August', 'September', 'October', 'November', 'December']) }}
{%- endmacro %}

{% macro day_names() -%}
    {{ return(['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday']) }}
{%- endmacro %}
