{#- The most used macros of dbt_utils, written from its documentation for projects that do not
    install the package. -#}

{% macro generate_surrogate_key(field_list) -%}
    {%- if var('surrogate_key_treat_nulls_as_empty_strings', false) -%}
        {%- set null_value = '' -%}
    {%- else -%}
        {%- set null_value = '_dbt_utils_surrogate_key_null_' -%}
    {%- endif -%}
    {%- set parts = [] -%}
    {%- for field in field_list -%}
        {%- do parts.append("coalesce(cast(" ~ field ~ " as " ~ dbt.type_string() ~ "), '" ~ null_value ~ "')") -%}
        {%- if not loop.last -%}
            {%- do parts.append("'-'") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ dbt.hash(dbt.concat(parts)) }}
{%- endmacro %}

{% macro surrogate_key(field_list) -%}
    {{ generate_surrogate_key(field_list) }}
{%- endmacro %}

{% macro safe_add(field_list) -%}
    {%- set parts = [] -%}
    {%- for field in field_list -%}{%- do parts.append('coalesce(' ~ field ~ ', 0)') -%}{%- endfor -%}
    {{ parts | join(' + ') }}
{%- endmacro %}

{% macro safe_subtract(field_list) -%}
    {%- set parts = [] -%}
    {%- for field in field_list -%}{%- do parts.append('coalesce(' ~ field ~ ', 0)') -%}{%- endfor -%}
    {{ parts | join(' - ') }}
{%- endmacro %}

{% macro safe_divide(numerator, denominator) -%}
    ( {{ numerator }} ) / nullif( ( {{ denominator }} ), 0)
{%- endmacro %}

{% macro group_by(n) -%}
    group by {% for i in range(1, n + 1) -%}{{ i }}{{ ', ' if not loop.last }}{%- endfor %}
{%- endmacro %}

{% macro _is_relation(obj, macro_name) %}
    {%- if not (obj is mapping and obj.get('metadata', {}).get('type', '').endswith('Relation')) and obj.identifier is not defined -%}
        {%- do exceptions.raise_compiler_error('Macro ' ~ macro_name ~ ' expected a Relation but received the value: ' ~ obj) -%}
    {%- endif -%}
{% endmacro %}

{% macro _is_ephemeral(obj, macro_name) %}
    {%- if obj.is_cte -%}
        {%- do exceptions.raise_compiler_error('The `' ~ macro_name ~ '` macro cannot be used with ephemeral models, as it relies on the information schema. ' ~ obj.name ~ ' is an ephemeral model: consider making it a view or a table') -%}
    {%- endif -%}
{% endmacro %}

{% macro get_filtered_columns_in_relation(from, except=[]) -%}
    {%- do _is_relation(from, 'get_filtered_columns_in_relation') -%}
    {%- do _is_ephemeral(from, 'get_filtered_columns_in_relation') -%}
    {%- if not execute -%}{{ return([]) }}{%- endif -%}
    {%- set left_out = except | map('lower') | list -%}
    {%- set names = [] -%}
    {%- for column in adapter.get_columns_in_relation(from) -%}
        {%- if column.column | lower not in left_out -%}{%- do names.append(column.column) -%}{%- endif -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}

{% macro star(from, relation_alias=false, except=[], prefix='', suffix='', quote_identifiers=true) -%}
    {%- do _is_relation(from, 'star') -%}
    {%- do _is_ephemeral(from, 'star') -%}
    {%- if not execute -%}{% do return('*') %}{%- endif -%}
    {%- set names = get_filtered_columns_in_relation(from, except) -%}
    {%- if names | length <= 0 -%}
        {%- if flags.WHICH == 'compile' -%}
            {% do return('* /* no columns were found */') %}
        {%- else -%}
            {% do return('/* no columns were returned from star() macro */') %}
        {%- endif -%}
    {%- else -%}
        {%- for name in names -%}
            {%- if relation_alias %}{{ relation_alias }}.{% endif -%}
            {%- if quote_identifiers -%}{{ adapter.quote(name) | trim }}{%- else -%}{{ name | trim }}{%- endif -%}
            {%- if prefix != '' or suffix != '' %} as {% if quote_identifiers -%}{{ adapter.quote(prefix ~ name ~ suffix) | trim }}{%- else -%}{{ (prefix ~ name ~ suffix) | trim }}{%- endif -%}{%- endif -%}
            {%- if not loop.last %},
  {% endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}

{% macro get_column_values(table, column, order_by='count(*) desc', max_records=none, default=none, where=none) -%}
    {%- if not execute -%}{% set default = [] if not default else default %}{{ return(default) }}{%- endif -%}
    {%- do _is_ephemeral(table, 'get_column_values') -%}
    {%- set found = load_relation(table) -%}
    {%- if not found -%}
        {%- if default is none -%}
            {%- do exceptions.raise_compiler_error('In get_column_values(): relation ' ~ table ~ ' does not exist and no default value was provided.') -%}
        {%- else -%}
            {{ return(default) }}
        {%- endif -%}
    {%- endif -%}
    {%- set result = run_query(
        'select ' ~ column ~ ' as value from ' ~ table
        ~ (' where ' ~ where if where is not none else '')
        ~ ' group by ' ~ column ~ ' order by ' ~ order_by
        ~ (' limit ' ~ max_records if max_records is not none else '')) -%}
    {%- set values = result.columns[0].values() | list -%}
    {{ return(values if values else (default if default is not none else [])) }}
{%- endmacro %}

{% macro get_single_value(sql_statement, default=none) -%}
    {%- if not execute -%}{{ return(default) }}{%- endif -%}
    {%- set result = run_query(sql_statement) -%}
    {%- if result | length == 0 -%}{{ return(default) }}{%- endif -%}
    {%- set value = result.columns[0].values()[0] -%}
    {{ return(default if value is none else value) }}
{%- endmacro %}

{% macro get_query_results_as_dict(query) -%}
    {%- set results = {} -%}
    {%- if execute -%}
        {%- set table = run_query(query) -%}
        {%- for column in table.columns -%}
            {%- do results.update({column.name: column.values()}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(results) }}
{%- endmacro %}

{% macro get_tables_by_pattern_sql(schema_pattern, table_pattern, exclude='', database=target.database) -%}
    select distinct table_schema as "table_schema", table_name as "table_name", case table_type when 'VIEW' then 'view' else 'table' end as "table_type"
    from information_schema.tables
    where table_schema ilike '{{ schema_pattern }}' and table_name ilike '{{ table_pattern }}' and table_name not ilike '{{ exclude }}'
{%- endmacro %}

{% macro get_tables_by_prefix_sql(schema, prefix, exclude='', database=target.database) -%}
    {{ get_tables_by_pattern_sql(schema, prefix ~ '%', exclude, database) }}
{%- endmacro %}

{% macro get_relations_by_pattern(schema_pattern, table_pattern, exclude='', database=target.database) -%}
    {%- set relations = [] -%}
    {%- if execute -%}
        {%- for row in run_query(get_tables_by_pattern_sql(schema_pattern, table_pattern, exclude, database)) -%}
            {%- do relations.append(api.Relation.create(database=database, schema=row.table_schema, identifier=row.table_name, type=row.table_type)) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(relations) }}
{%- endmacro %}

{% macro get_relations_by_prefix(schema, prefix, exclude='', database=target.database) -%}
    {{ return(get_relations_by_pattern(schema, prefix ~ '%', exclude, database)) }}
{%- endmacro %}

{% macro union_relations(relations, column_override=none, include=[], exclude=[], source_column_name='_dbt_source_relation', where=none) -%}
    {%- if exclude and include -%}
        {%- do exceptions.raise_compiler_error('Both an exclude and include list were provided to the `union` macro. Only one is allowed') -%}
    {%- endif -%}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set column_override = column_override if column_override is not none else {} -%}
    {%- set superset = {} -%}
    {%- set present = {} -%}
    {%- set wanted = include | map('lower') | list -%}
    {%- set unwanted = exclude | map('lower') | list -%}
    {%- for relation in relations -%}
        {%- do _is_relation(relation, 'union_relations') -%}
        {%- do _is_ephemeral(relation, 'union_relations') -%}
        {%- set names = [] -%}
        {%- for column in adapter.get_columns_in_relation(relation) -%}
            {%- set name = column.column -%}
            {%- if (not wanted or name | lower in wanted) and name | lower not in unwanted -%}
                {%- do names.append(name) -%}
                {%- if name not in superset -%}{%- do superset.update({name: column}) -%}{%- endif -%}
            {%- endif -%}
        {%- endfor -%}
        {%- do present.update({relation | string: names}) -%}
    {%- endfor -%}
    {%- for relation in relations %}
        (
            select
                {% if source_column_name is not none -%}
                cast({{ dbt.string_literal(relation) }} as {{ dbt.type_string() }}) as {{ source_column_name }},
                {% endif -%}
                {% for name in superset -%}
                {%- set type = column_override.get(name, superset[name].data_type) -%}
                cast({{ adapter.quote(name) if name in present[relation | string] else 'null' }} as {{ type }}) as {{ adapter.quote(name) }}{{ ', ' if not loop.last }}
                {% endfor -%}
            from {{ relation }}
            {% if where -%}where {{ where }}{%- endif %}
        )
        {% if not loop.last %}union all{% endif %}
    {%- endfor -%}
{%- endmacro %}

{% macro unpivot(relation=none, cast_to='varchar', exclude=none, remove=none, field_name='field_name', value_name='value', quote_identifiers=false) -%}
    {%- if not relation -%}{%- do exceptions.raise_compiler_error('Error: argument `relation` is required for `unpivot` macro.') -%}{%- endif -%}
    {%- do _is_relation(relation, 'unpivot') -%}
    {%- do _is_ephemeral(relation, 'unpivot') -%}
    {%- set exclude = exclude if exclude is not none else [] -%}
    {%- set remove = remove if remove is not none else [] -%}
    {%- set kept = exclude | map('lower') | list -%}
    {%- set removed = remove | map('lower') | list -%}
    {%- set columns = [] -%}
    {%- if execute -%}
        {%- for column in adapter.get_columns_in_relation(relation) -%}
            {%- if column.column | lower not in kept and column.column | lower not in removed -%}{%- do columns.append(column.column) -%}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for column in columns -%}
        select
            {%- for name in exclude %}
            {{ adapter.quote(name) if quote_identifiers else name }},
            {%- endfor %}
            cast('{{ column }}' as {{ dbt.type_string() }}) as {{ field_name }},
            cast({{ adapter.quote(column) if quote_identifiers else column }} as {{ cast_to }}) as {{ value_name }}
        from {{ relation }}
        {% if not loop.last %}union all{% endif %}
    {% endfor -%}
{%- endmacro %}

{% macro pivot(column, values, alias=true, agg='sum', cmp='=', prefix='', suffix='', then_value=1, else_value=0, quote_identifiers=true, distinct=false) -%}
    {%- for value in values %}
    {{ agg }}(
        {% if distinct %}distinct{% endif %}
        case
        when {{ column }} {{ cmp }} '{{ dbt.escape_single_quotes(value | string) }}'
        then {{ then_value }}
        else {{ else_value }}
        end
    )
    {%- if alias %} as {{ adapter.quote(prefix ~ value ~ suffix) if quote_identifiers else slugify(prefix ~ value ~ suffix) }}{% endif -%}
    {%- if not loop.last %},{% endif -%}
    {%- endfor -%}
{%- endmacro %}

{% macro deduplicate(relation, partition_by, order_by) -%}
    select distinct on ({{ partition_by }}) *
    from {{ relation }}
    order by {{ partition_by }}{{ ', ' ~ order_by if order_by else '' }}
{%- endmacro %}

{% macro slugify(string) -%}
    {%- set string = string | lower -%}
    {%- set string = modules.re.sub('[ -]+', '_', string) -%}
    {%- set string = modules.re.sub('[^a-z0-9_]+', '', string) -%}
    {%- set string = modules.re.sub('^([0-9])', '_\\1', string) -%}
    {{ return(string) }}
{%- endmacro %}

{% macro date_spine(datepart, start_date, end_date) -%}
    {{ return(dbt.date_spine(datepart, start_date, end_date)) }}
{%- endmacro %}

{% macro generate_series(upper_bound) -%}{{ return(dbt.generate_series(upper_bound)) }}{%- endmacro %}
{% macro get_powers_of_two(upper_bound) -%}{{ return(dbt.get_powers_of_two(upper_bound)) }}{%- endmacro %}
{% macro get_intervals_between(start_date, end_date, datepart) -%}{{ return(dbt.get_intervals_between(start_date, end_date, datepart)) }}{%- endmacro %}
{% macro string_literal(value) -%}{{ return(dbt.string_literal(value)) }}{%- endmacro %}
{% macro datediff(first_date, second_date, datepart) -%}{{ return(dbt.datediff(first_date, second_date, datepart)) }}{%- endmacro %}
{% macro dateadd(datepart, interval, from_date_or_timestamp) -%}{{ return(dbt.dateadd(datepart, interval, from_date_or_timestamp)) }}{%- endmacro %}
{% macro type_string() -%}{{ return(dbt.type_string()) }}{%- endmacro %}
{% macro type_float() -%}{{ return(dbt.type_float()) }}{%- endmacro %}
{% macro type_int() -%}{{ return(dbt.type_int()) }}{%- endmacro %}
{% macro type_numeric() -%}{{ return(dbt.type_numeric()) }}{%- endmacro %}
{% macro type_timestamp() -%}{{ return(dbt.type_timestamp()) }}{%- endmacro %}

{% macro width_bucket(expr, min_value, max_value, num_buckets) -%}
    case
        when {{ expr }} < {{ min_value }} then 0
        when {{ expr }} >= {{ max_value }} then {{ num_buckets }} + 1
        else cast(floor((cast({{ expr }} as double precision) - {{ min_value }}) * {{ num_buckets }} / ({{ max_value }} - {{ min_value }})) as bigint) + 1
    end
{%- endmacro %}

{% macro degrees_to_radians(degrees) -%}
    acos(-1) * {{ degrees }} / 180
{%- endmacro %}

{% macro haversine_distance(lat1, lon1, lat2, lon2, unit='mi') -%}
    {%- if unit not in ['mi', 'km'] -%}{%- do exceptions.raise_compiler_error('unit input must be one of ("mi" or "km"). Got ' ~ unit) -%}{%- endif -%}
    2 * 3961 * {{ '1.60934' if unit == 'km' else '1' }} * asin(sqrt(power(sin(radians(({{ lat2 }}) - ({{ lat1 }})) / 2), 2) +
    cos(radians({{ lat1 }})) * cos(radians({{ lat2 }})) *
    power(sin(radians(({{ lon2 }}) - ({{ lon1 }})) / 2), 2)))
{%- endmacro %}

{% macro nullcheck(cols) -%}
    {%- for column in cols %}
    {% if column.is_string() %}nullif({{ column.name }}, '') as {{ column.name }}{% else %}{{ column.name }}{% endif %}{{ ',' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{% macro nullcheck_table(relation) -%}
    select {{ nullcheck(adapter.get_columns_in_relation(relation)) }} from {{ relation }}
{%- endmacro %}

{% macro get_url_parameter(field, url_parameter) -%}
    nullif(split_part(split_part({{ field }}, '{{ url_parameter }}=', 2), '&', 1), '')
{%- endmacro %}

{% macro get_url_host(field) -%}
    cast(split_part(split_part(replace(replace(replace({{ field }}, 'android-app://', ''), 'http://', ''), 'https://', ''), '/', 1), '?', 1) as text)
{%- endmacro %}

{% macro get_url_path(field) -%}
    {%- set stripped = "replace(replace(" ~ field ~ ", 'http://', ''), 'https://', '')" -%}
    case when strpos({{ stripped }}, '/') > 0 then split_part(substr({{ stripped }}, strpos({{ stripped }}, '/') + 1), '?', 1) else '' end
{%- endmacro %}

{% macro pretty_time(format='%H:%M:%S') -%}{{ return(modules.datetime.datetime.now().strftime(format)) }}{%- endmacro %}
{% macro pretty_log_format(message) -%}{{ return(pretty_time() ~ ' + ' ~ message) }}{%- endmacro %}
{% macro log_info(message) -%}{{ log(pretty_log_format(message), info=true) }}{%- endmacro %}
