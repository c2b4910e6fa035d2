{#- The most used generic tests of dbt_expectations, written from its documentation. -#}

{% macro _rows(model, row_condition) -%}
    {{ model }}{% if row_condition %} where {{ row_condition }}{% endif %}
{%- endmacro %}

{#- Rows in which the expression is not true; NULL counts as in the package: not true is not enough,
    the expression must be false. -#}
{% macro _rows_where_false(model, expression, row_condition) -%}
select *
from (select * from {{ _rows(model, row_condition) }}) as tested
where not ({{ expression }})
{%- endmacro %}

{% test expect_column_values_to_match_regex(model, column_name, regex, row_condition=none, is_raw=false, flags='') %}
{{ _rows_where_false(model, "regexp_like(" ~ column_name ~ ", '" ~ (regex | replace("'", "''")) ~ "'" ~ (", '" ~ flags ~ "'" if flags else '') ~ ")", row_condition) }}
{% endtest %}

{% test expect_column_values_to_not_match_regex(model, column_name, regex, row_condition=none, is_raw=false, flags='') %}
{{ _rows_where_false(model, "not regexp_like(" ~ column_name ~ ", '" ~ (regex | replace("'", "''")) ~ "'" ~ (", '" ~ flags ~ "'" if flags else '') ~ ")", row_condition) }}
{% endtest %}

{% test expect_column_values_to_match_regex_list(model, column_name, regex_list, match_on='any', row_condition=none, is_raw=false, flags='') %}
{%- set parts = [] -%}
{%- for regex in regex_list -%}{%- do parts.append("regexp_like(" ~ column_name ~ ", '" ~ (regex | replace("'", "''")) ~ "')") -%}{%- endfor -%}
{{ _rows_where_false(model, parts | join(' and ' if match_on == 'all' else ' or '), row_condition) }}
{% endtest %}

{% test expect_column_values_to_not_match_regex_list(model, column_name, regex_list, match_on='any', row_condition=none, is_raw=false, flags='') %}
{%- set parts = [] -%}
{%- for regex in regex_list -%}{%- do parts.append("not regexp_like(" ~ column_name ~ ", '" ~ (regex | replace("'", "''")) ~ "')") -%}{%- endfor -%}
{{ _rows_where_false(model, parts | join(' and ' if match_on == 'all' else ' or '), row_condition) }}
{% endtest %}

{% test expect_column_to_exist(model, column_name, column_index=none, transform='upper') %}
{%- if execute -%}
    {%- set names = [] -%}
    {%- for column in adapter.get_columns_in_relation(model) -%}{%- do names.append(column.name | lower) -%}{%- endfor -%}
    {%- set found = column_name | lower in names -%}
    {%- if column_index is not none -%}
        {%- set found = found and names.index(column_name | lower) == column_index - 1 -%}
    {%- endif -%}
select * from (select {{ 0 if found else 1 }} as missing) as tested where missing = 1
{%- endif -%}
{% endtest %}

{% test expect_column_values_to_be_in_type_list(model, column_name, column_type_list) %}
{%- if execute -%}
    {%- set wanted = column_type_list | map('lower') | list -%}
    {%- set types = [] -%}
    {%- for column in adapter.get_columns_in_relation(model) -%}
        {%- if column.name | lower == column_name | lower -%}{%- do types.append(column.dtype | lower) -%}{%- do types.append(column.data_type | lower) -%}{%- endif -%}
    {%- endfor -%}
    {%- set ok = types | select('in', wanted) | list -%}
select * from (select {{ 0 if ok else 1 }} as mistyped) as tested where mistyped = 1
{%- endif -%}
{% endtest %}

{% test expect_column_values_to_be_of_type(model, column_name, column_type) %}
{{ return(dbt_expectations.test_expect_column_values_to_be_in_type_list(model, column_name, [column_type])) }}
{% endtest %}

{% test expect_column_values_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}
{%- set parts = [] -%}
{%- if min_value is not none -%}{%- do parts.append(column_name ~ (' > ' if strictly else ' >= ') ~ min_value) -%}{%- endif -%}
{%- if max_value is not none -%}{%- do parts.append(column_name ~ (' < ' if strictly else ' <= ') ~ max_value) -%}{%- endif -%}
{{ _rows_where_false(model, parts | join(' and '), row_condition) }}
{% endtest %}

{% test expect_column_value_lengths_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}
{%- set length = 'length(' ~ column_name ~ ')' -%}
{%- set parts = [] -%}
{%- if min_value is not none -%}{%- do parts.append(length ~ (' > ' if strictly else ' >= ') ~ min_value) -%}{%- endif -%}
{%- if max_value is not none -%}{%- do parts.append(length ~ (' < ' if strictly else ' <= ') ~ max_value) -%}{%- endif -%}
{{ _rows_where_false(model, parts | join(' and '), row_condition) }}
{% endtest %}

{% test expect_column_value_lengths_to_equal(model, column_name, value, row_condition=none) %}
{{ _rows_where_false(model, 'length(' ~ column_name ~ ') = ' ~ value, row_condition) }}
{% endtest %}

{% test expect_column_values_to_be_unique(model, column_name, row_condition=none) %}
select {{ column_name }}, count(*) as n_records
from {{ _rows(model, row_condition) }}
group by {{ column_name }}
having count(*) > 1
{% endtest %}

{% test expect_column_values_to_not_be_null(model, column_name, row_condition=none) %}
{{ _rows_where_false(model, column_name ~ ' is not null', row_condition) }}
{% endtest %}

{% test expect_column_values_to_be_in_set(model, column_name, value_set, quote_values=true, row_condition=none) %}
{%- set listed = [] -%}
{%- for value in value_set -%}{%- do listed.append("'" ~ value ~ "'" if quote_values else value) -%}{%- endfor -%}
{{ _rows_where_false(model, column_name ~ ' in (' ~ (listed | join(', ')) ~ ')', row_condition) }}
{% endtest %}

{% test expect_column_values_to_not_be_in_set(model, column_name, value_set, quote_values=true, row_condition=none) %}
{%- set listed = [] -%}
{%- for value in value_set -%}{%- do listed.append("'" ~ value ~ "'" if quote_values else value) -%}{%- endfor -%}
{{ _rows_where_false(model, column_name ~ ' not in (' ~ (listed | join(', ')) ~ ')', row_condition) }}
{% endtest %}

{% test expect_column_pair_values_A_to_be_greater_than_B(model, column_A, column_B, or_equal=false, row_condition=none) %}
{{ _rows_where_false(model, column_A ~ (' >= ' if or_equal else ' > ') ~ column_B, row_condition) }}
{% endtest %}

{% test expression_is_true(model, expression, column_name=none, row_condition=none) %}
{{ _rows_where_false(model, (column_name ~ ' ' if column_name else '') ~ expression, row_condition) }}
{% endtest %}

{% test expect_table_row_count_to_be_between(model, min_value=none, max_value=none, row_condition=none, strictly=false) %}
{%- set parts = [] -%}
{%- if min_value is not none -%}{%- do parts.append('row_count' ~ (' > ' if strictly else ' >= ') ~ min_value) -%}{%- endif -%}
{%- if max_value is not none -%}{%- do parts.append('row_count' ~ (' < ' if strictly else ' <= ') ~ max_value) -%}{%- endif -%}
select * from (select count(*) as row_count from {{ _rows(model, row_condition) }}) as counted where not ({{ parts | join(' and ') }})
{% endtest %}

{% test expect_table_row_count_to_equal(model, value, row_condition=none) %}
select * from (select count(*) as row_count from {{ _rows(model, row_condition) }}) as counted where not (row_count = {{ value }})
{% endtest %}

{% test expect_table_row_count_to_equal_other_table(model, compare_model) %}
select *
from (select count(*) as a from {{ model }}) as left_count
cross join (select count(*) as b from {{ compare_model }}) as right_count
where a <> b
{% endtest %}

{% test expect_compound_columns_to_be_unique(model, column_list, quote_columns=false, ignore_row_if='all_values_are_missing', row_condition=none) %}
{%- set names = [] -%}
{%- for column in column_list -%}{%- do names.append(adapter.quote(column) if quote_columns else column) -%}{%- endfor -%}
{%- set conditions = [] -%}
{%- if ignore_row_if == 'all_values_are_missing' -%}
    {%- do conditions.append('not (' ~ (names | join(' is null and ')) ~ ' is null)') -%}
{%- elif ignore_row_if == 'any_value_is_missing' -%}
    {%- do conditions.append('not (' ~ (names | join(' is null or ')) ~ ' is null)') -%}
{%- endif -%}
{%- if row_condition -%}{%- do conditions.append('(' ~ row_condition ~ ')') -%}{%- endif -%}
select {{ names | join(', ') }}, count(*) as n_records
from {{ model }}
{{ 'where ' ~ (conditions | join(' and ')) if conditions }}
group by {{ names | join(', ') }}
having count(*) > 1
{% endtest %}

{% test expect_column_proportion_of_unique_values_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}
{%- set parts = [] -%}
{%- if min_value is not none -%}{%- do parts.append('proportion' ~ (' > ' if strictly else ' >= ') ~ min_value) -%}{%- endif -%}
{%- if max_value is not none -%}{%- do parts.append('proportion' ~ (' < ' if strictly else ' <= ') ~ max_value) -%}{%- endif -%}
select * from (
    select count(distinct {{ column_name }}) * 1.0 / count({{ column_name }}) as proportion from {{ _rows(model, row_condition) }}
) as tested where not ({{ parts | join(' and ') }})
{% endtest %}

{% test expect_column_unique_value_count_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}
{%- set parts = [] -%}
{%- if min_value is not none -%}{%- do parts.append('value_count' ~ (' > ' if strictly else ' >= ') ~ min_value) -%}{%- endif -%}
{%- if max_value is not none -%}{%- do parts.append('value_count' ~ (' < ' if strictly else ' <= ') ~ max_value) -%}{%- endif -%}
select * from (select count(distinct {{ column_name }}) as value_count from {{ _rows(model, row_condition) }}) as tested where not ({{ parts | join(' and ') }})
{% endtest %}
