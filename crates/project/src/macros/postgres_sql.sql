{# Cross-database macros as PostgreSQL says them, where the lake says them otherwise. #}

{% macro postgres__current_timestamp() %}now(){% endmacro %}
{% macro postgres__current_timestamp_backcompat() %}current_timestamp::{{ type_timestamp() }}{% endmacro %}
{% macro postgres__current_timestamp_in_utc_backcompat() %}(current_timestamp at time zone 'utc')::{{ type_timestamp() }}{% endmacro %}
{% macro postgres__snapshot_get_time() %}{{ current_timestamp() }}::timestamp without time zone{% endmacro %}
{% macro postgres__snapshot_string_as_time(timestamp) %}{{ return("'" ~ timestamp ~ "'::timestamp without time zone") }}{% endmacro %}

{# A cast that fails is an error here, as in dbt-postgres. #}
{% macro postgres__safe_cast(field, type) %}cast({{ field }} as {{ type }}){% endmacro %}
{% macro postgres__any_value(expression) %}min({{ expression }}){% endmacro %}

{% macro postgres__array_construct(inputs, data_type) -%}
    {%- if inputs -%}
        array[ {{ inputs | join(' , ') }} ]
    {%- else -%}
        array[]::{{ data_type or 'integer' }}[]
    {%- endif -%}
{%- endmacro %}
{% macro postgres__array_concat(array_1, array_2) %}array_cat({{ array_1 }}, {{ array_2 }}){% endmacro %}

{% macro postgres__dateadd(datepart, interval, from_date_or_timestamp) -%}
    {{ from_date_or_timestamp }} + ((interval '1 {{ datepart }}') * ({{ interval }}))
{%- endmacro %}

{% macro postgres__datediff(first_date, second_date, datepart) -%}
    {%- set first, second = '(' ~ first_date ~ ')', '(' ~ second_date ~ ')' -%}
    {%- set days = '(' ~ second ~ '::date - ' ~ first ~ '::date)' -%}
    {%- set years = "(date_part('year', " ~ second ~ "::date) - date_part('year', " ~ first ~ "::date))" -%}
    {%- set hours = '(' ~ days ~ " * 24 + date_part('hour', " ~ second ~ "::timestamp) - date_part('hour', " ~ first ~ '::timestamp))' -%}
    {%- set minutes = '(' ~ hours ~ " * 60 + date_part('minute', " ~ second ~ "::timestamp) - date_part('minute', " ~ first ~ '::timestamp))' -%}
    {%- if datepart == 'year' -%}
        {{ years }}
    {%- elif datepart in ('quarter', 'month') -%}
        ({{ years }} * {{ 4 if datepart == 'quarter' else 12 }} + date_part('{{ datepart }}', {{ second }}::date) - date_part('{{ datepart }}', {{ first }}::date))
    {%- elif datepart == 'day' -%}
        {{ days }}
    {%- elif datepart == 'week' -%}
        ({{ days }} / 7 + case
            when date_part('dow', {{ first }}::timestamp) <= date_part('dow', {{ second }}::timestamp)
                then case when {{ first }} <= {{ second }} then 0 else -1 end
            else case when {{ first }} <= {{ second }} then 1 else 0 end
        end)
    {%- elif datepart == 'hour' -%}
        {{ hours }}
    {%- elif datepart == 'minute' -%}
        {{ minutes }}
    {%- elif datepart in ('second', 'millisecond', 'microsecond') -%}
        {%- set factor = {'second': 60, 'millisecond': 60000, 'microsecond': 60000000}[datepart] -%}
        ({{ minutes }} * {{ factor }} + floor(date_part('{{ datepart }}', {{ second }}::timestamp)) - floor(date_part('{{ datepart }}', {{ first }}::timestamp)))
    {%- else -%}
        {{ exceptions.raise_compiler_error("datediff: PostgreSQL has no part `" ~ datepart ~ "`") }}
    {%- endif -%}
{%- endmacro %}

{% macro postgres__date_trunc(datepart, date) %}date_trunc('{{ datepart }}', {{ date }}){% endmacro %}

{% macro postgres__last_day(date, datepart) -%}
    {%- set months = {'month': 1, 'quarter': 3, 'year': 12}.get(datepart) -%}
    {%- set span = "interval '" ~ months ~ " month'" if months else "interval '1 " ~ datepart ~ "'" -%}
    cast(date_trunc('{{ datepart }}', {{ date }}) + {{ span }} - interval '1 day' as date)
{%- endmacro %}

{% macro postgres__listagg(measure, delimiter_text, order_by_clause, limit_num) -%}
    {%- if limit_num -%}
        array_to_string((array_agg({{ measure }} {{ order_by_clause or '' }}))[1:{{ limit_num }}], {{ delimiter_text }})
    {%- else -%}
        string_agg({{ measure }}, {{ delimiter_text }} {{ order_by_clause or '' }})
    {%- endif -%}
{%- endmacro %}

{% macro default__get_intervals_between(start_date, end_date, datepart) -%}
    {%- call statement('get_intervals_between', fetch_result=true) -%}
        select {{ datediff(start_date, end_date, datepart) }}
    {%- endcall -%}
    {%- set found = load_result('get_intervals_between') -%}
    {%- do return(found.data[0][0] | int if found and found.data else 0) -%}
{%- endmacro %}

{% macro default__generate_series(upper_bound) -%}
    select generated_number from generate_series(1, {{ upper_bound }}) as generated(generated_number)
{%- endmacro %}

{% macro default__position(substring_text, string_text) %}position({{ substring_text }} in {{ string_text }}){% endmacro %}
{% macro default__date(year, month, day) %}make_date({{ year }}, {{ month }}, {{ day }}){% endmacro %}
