{#- The generic tests of dbt_utils, written from its documentation. -#}

{% test unique_combination_of_columns(model, combination_of_columns, quote_columns=false) %}
{%- set names = [] -%}
{%- for column in combination_of_columns -%}
    {%- do names.append(adapter.quote(column) if quote_columns else column) -%}
{%- endfor -%}
select {{ names | join(', ') }}
from {{ model }}
group by {{ names | join(', ') }}
having count(*) > 1
{% endtest %}

{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
select *
from {{ model }}
where not (true
    {%- if min_value is not none %}
    and {{ column_name }} >{{ '=' if inclusive }} {{ min_value }}
    {%- endif %}
    {%- if max_value is not none %}
    and {{ column_name }} <{{ '=' if inclusive }} {{ max_value }}
    {%- endif %}
)
{% endtest %}

{% test expression_is_true(model, expression, column_name=none) %}
select {{ '*' if should_store_failures() else '1' }}
from {{ model }}
where not({{ column_name ~ ' ' if column_name is not none else '' }}{{ expression }})
{% endtest %}

{% test not_empty_string(model, column_name, trim_whitespace=true) %}
select *
from (
    select {{ 'trim(' ~ column_name ~ ')' if trim_whitespace else column_name }} as tested
    from {{ model }}
) as candidates
where tested = ''
{% endtest %}

{% test not_accepted_values(model, column_name, values, quote=true) %}
with all_values as (
    select distinct {{ column_name }} as value_field
    from {{ model }}
)
select *
from all_values
where value_field in (
    {%- for value in values -%}
    {{ "'" ~ value ~ "'" if quote else value }}{{ ', ' if not loop.last }}
    {%- endfor -%}
)
{% endtest %}

{% test not_null_proportion(model, column_name, at_least, at_most=1.0, group_by_columns=[]) %}
{%- set keys = group_by_columns | join(', ') -%}
select *
from (
    select
        {{ keys ~ ', ' if keys }}
        sum(case when {{ column_name }} is null then 0 else 1 end) / cast(count(*) as double precision) as not_null_proportion
    from {{ model }}
    {{ 'group by ' ~ keys if keys }}
) as proportions
where not_null_proportion < {{ at_least }} or not_null_proportion > {{ at_most }}
{% endtest %}

{% test not_constant(model, column_name, group_by_columns=[]) %}
{%- set keys = group_by_columns | join(', ') -%}
select {{ keys ~ ', ' if keys }} count(distinct {{ column_name }}) as filler_column
from {{ model }}
{{ 'group by ' ~ keys if keys }}
having count(distinct {{ column_name }}) = 1
{% endtest %}

{% test at_least_one(model, column_name, group_by_columns=[]) %}
{%- set keys = group_by_columns | join(', ') -%}
select {{ keys ~ ', ' if keys }} count({{ column_name }}) as filler_column
from {{ model }}
{{ 'group by ' ~ keys if keys }}
having count({{ column_name }}) = 0
{% endtest %}

{% test equal_rowcount(model, compare_model, group_by_columns=[]) %}
{%- if group_by_columns -%}
{%- set keys = group_by_columns | join(', ') -%}
select *
from (
    select coalesce(a.id_dbtutils_test_equal_rowcount, b.id_dbtutils_test_equal_rowcount) as id_dbtutils_test_equal_rowcount,
        coalesce(a.count_a, 0) as count_a, coalesce(b.count_b, 0) as count_b,
        abs(coalesce(a.count_a, 0) - coalesce(b.count_b, 0)) as diff_count
    from (select concat_ws('|', {{ keys }}) as id_dbtutils_test_equal_rowcount, count(*) as count_a from {{ model }} group by {{ keys }}) a
    full join (select concat_ws('|', {{ keys }}) as id_dbtutils_test_equal_rowcount, count(*) as count_b from {{ compare_model }} group by {{ keys }}) b
        on a.id_dbtutils_test_equal_rowcount = b.id_dbtutils_test_equal_rowcount
) as counts
where diff_count > 0
{%- else -%}
{{ config(fail_calc='sum(coalesce(diff_count, 0))') }}
select a.count_a, b.count_b, abs(a.count_a - b.count_b) as diff_count
from (select count(*) as count_a from {{ model }}) a
cross join (select count(*) as count_b from {{ compare_model }}) b
where a.count_a <> b.count_b
{%- endif -%}
{% endtest %}

{% test fewer_rows_than(model, compare_model, group_by_columns=[]) %}
{{ config(fail_calc='sum(coalesce(row_count_delta, 0))') }}
select a.count_our_model, b.count_comparison_model,
    case when a.count_our_model > b.count_comparison_model then a.count_our_model - b.count_comparison_model
         when a.count_our_model = b.count_comparison_model then 1 else 0 end as row_count_delta
from (select count(*) as count_our_model from {{ model }}) a
cross join (select count(*) as count_comparison_model from {{ compare_model }}) b
where a.count_our_model >= b.count_comparison_model
{% endtest %}

{% test equality(model, compare_model, compare_columns=none, exclude_columns=none, precision=none) %}
{%- if execute -%}
    {%- if compare_columns -%}
        {%- set names = compare_columns -%}
    {%- else -%}
        {%- set names = [] -%}
        {%- set unwanted = (exclude_columns or []) | map('lower') | list -%}
        {%- for column in adapter.get_columns_in_relation(model) -%}
            {%- if column.column | lower not in unwanted -%}{%- do names.append(column.quoted) -%}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set listed = names | join(', ') -%}
select 'a_minus_b' as which_diff, a_minus_b.* from (
    select {{ listed }} from {{ model }} except select {{ listed }} from {{ compare_model }}
) as a_minus_b
union all
select 'b_minus_a' as which_diff, b_minus_a.* from (
    select {{ listed }} from {{ compare_model }} except select {{ listed }} from {{ model }}
) as b_minus_a
{%- endif -%}
{% endtest %}

{% test cardinality_equality(model, column_name, to, field) %}
with table_a as (
    select {{ column_name }} as value_field, count(*) as num_rows from {{ model }} group by {{ column_name }}
),
table_b as (
    select {{ field }} as value_field, count(*) as num_rows from {{ to }} group by {{ field }}
)
(select * from table_a except select * from table_b)
union all
(select * from table_b except select * from table_a)
{% endtest %}

{% test relationships_where(model, column_name, to, field, from_condition='1=1', to_condition='1=1') %}
with left_table as (
    select {{ column_name }} as id
    from {{ model }}
    where {{ column_name }} is not null and {{ from_condition }}
),
right_table as (
    select {{ field }} as id
    from {{ to }}
    where {{ field }} is not null and {{ to_condition }}
)
select left_table.id, right_table.id as right_id
from left_table
left join right_table on left_table.id = right_table.id
where right_table.id is null
{% endtest %}

{% test mutually_exclusive_ranges(model, lower_bound_column, upper_bound_column, partition_by=none, gaps='allowed', zero_length_range_allowed=false) %}
{%- set comparison = {'not_allowed': '=', 'allowed': '<=', 'required': '<'}.get(gaps) -%}
{%- if comparison is none -%}
    {{ exceptions.raise_compiler_error("`gaps` argument for mutually_exclusive_ranges test must be one of ['not_allowed', 'allowed', 'required'] Got: '" ~ gaps ~ "'.") }}
{%- endif -%}
{%- set partition = 'partition by ' ~ partition_by if partition_by else '' -%}
with window_functions as (
    select
        {{ partition_by ~ ' as partition_by_col,' if partition_by }}
        {{ lower_bound_column }} as lower_bound,
        {{ upper_bound_column }} as upper_bound,
        lead({{ lower_bound_column }}) over ({{ partition }} order by {{ lower_bound_column }}, {{ upper_bound_column }}) as next_lower_bound,
        row_number() over ({{ partition }} order by {{ lower_bound_column }} desc, {{ upper_bound_column }} desc) = 1 as is_last_record
    from {{ model }}
)
select *
from window_functions
where not (
    coalesce(lower_bound {{ '<=' if zero_length_range_allowed else '<' }} upper_bound, false)
    and coalesce(upper_bound {{ comparison }} next_lower_bound, is_last_record, false)
)
{% endtest %}

{% test sequential_values(model, column_name, interval=1, datepart=none, group_by_columns=[]) %}
{%- set partition = 'partition by ' ~ (group_by_columns | join(', ')) if group_by_columns else '' -%}
with windowed as (
    select
        {{ column_name }},
        lag({{ column_name }}) over ({{ partition }} order by {{ column_name }}) as previous_value
    from {{ model }}
)
select *
from windowed
{%- if datepart %}
where not (cast({{ column_name }} as timestamp) = {{ dbt.dateadd(datepart, interval, 'previous_value') }})
{%- else %}
where not ({{ column_name }} = previous_value + {{ interval }})
{%- endif %}
{% endtest %}

{% test recency(model, field, datepart, interval, ignore_time_component=false, group_by_columns=[]) %}
{%- set keys = group_by_columns | join(', ') -%}
{%- set threshold = dbt.dateadd(datepart, interval * -1, dbt.current_timestamp()) -%}
select *
from (
    select {{ keys ~ ', ' if keys }} max({{ 'cast(' ~ field ~ ' as date)' if ignore_time_component else field }}) as most_recent
    from {{ model }}
    {{ 'group by ' ~ keys if keys }}
) as recency
where most_recent < {{ 'cast(' ~ threshold ~ ' as date)' if ignore_time_component else threshold }}
{% endtest %}
