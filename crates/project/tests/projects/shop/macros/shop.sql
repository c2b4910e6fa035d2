{% macro cents(column, digits=2) -%}
    round({{ column }} / 100, {{ digits }})
{%- endmacro %}

{% macro note(text) %}{% do log(text) %}select '{{ text | replace('"', '') }}'{% endmacro %}
