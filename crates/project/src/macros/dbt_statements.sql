{% macro statement(name=none, fetch_result=false, auto_begin=true, language='sql') -%}
    {%- if execute -%}
        {%- set text = caller() -%}
        {%- if name == 'main' %}{% do write(text) %}{% endif -%}
        {%- set res, table = adapter.execute(text, auto_begin=auto_begin, fetch=fetch_result) -%}
        {%- if name is not none -%}
            {{ store_result(name, response=res, agate_table=table) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro noop_statement(name=none, message=none, code=none, rows_affected=none, res=none) -%}
    {%- if name == 'main' and caller is defined %}{% do write(caller()) %}{% endif -%}
    {%- if name is not none -%}
        {{ store_raw_result(name, message=message, code=code, rows_affected=rows_affected, agate_table=res) }}
    {%- endif -%}
{%- endmacro %}

{% macro run_query(sql) %}
    {% call statement('run_query_statement', fetch_result=true, auto_begin=false) %}
        {{ sql }}
    {% endcall %}
    {% set result = load_result('run_query_statement') %}
    {% if result is none %}{% do return(none) %}{% endif %}
    {% do return(result.table) %}
{% endmacro %}

{% macro get_columns_in_query(select_sql) %}
    {% set table = run_query('select * from (' ~ select_sql ~ ') as dbt_sbq where false limit 0') %}
    {% if table is none %}{% do return([]) %}{% endif %}
    {% do return(table.column_names | list) %}
{% endmacro %}

{% macro load_relation(relation) %}
    {% do return(adapter.get_relation(
        database=relation.database, schema=relation.schema, identifier=relation.identifier)) %}
{% endmacro %}

{% macro load_cached_relation(relation) %}
    {% do return(load_relation(relation)) %}
{% endmacro %}

{% macro get_or_create_relation(database, schema, identifier, type) %}
    {% set found = adapter.get_relation(database=database, schema=schema, identifier=identifier) %}
    {% if found %}{% do return([true, found]) %}{% endif %}
    {% do return([false, api.Relation.create(
        database=database, schema=schema, identifier=identifier, type=type)]) %}
{% endmacro %}

{% macro make_temp_relation(base_relation, suffix='__dbt_tmp') %}
    {% do return(base_relation.incorporate(path={
        'identifier': base_relation.identifier ~ suffix, 'schema': none, 'database': none})) %}
{% endmacro %}

{% macro make_intermediate_relation(base_relation, suffix='__dbt_tmp') %}
    {% do return(base_relation.incorporate(path={'identifier': base_relation.identifier ~ suffix})) %}
{% endmacro %}

{% macro make_backup_relation(base_relation, backup_relation_type, suffix='__dbt_backup') %}
    {% do return(base_relation.incorporate(path={'identifier': base_relation.identifier ~ suffix})) %}
{% endmacro %}

{% macro should_full_refresh() %}
    {% set config_full_refresh = config.get('full_refresh') %}
    {% if config_full_refresh is none %}
        {% set config_full_refresh = flags.FULL_REFRESH %}
    {% endif %}
    {% do return(config_full_refresh) %}
{% endmacro %}

{% macro should_store_failures() %}
    {% set store = config.get('store_failures') %}
    {% if store is none %}
        {% set store = flags.STORE_FAILURES %}
    {% endif %}
    {% do return(store) %}
{% endmacro %}

{% macro get_columns_in_relation(relation) %}
    {% do return(adapter.get_columns_in_relation(relation)) %}
{% endmacro %}

{% macro list_relations_without_caching(schema_relation) %}
    {% do return(adapter.list_relations_without_caching(schema_relation)) %}
{% endmacro %}

{% macro check_schema_exists(information_schema, schema) %}
    {% do return(adapter.check_schema_exists(information_schema, schema)) %}
{% endmacro %}

{% macro create_schema(relation) %}{% endmacro %}

{% macro in_transaction(sql) %}{% do return({'sql': sql, 'transaction': true}) %}{% endmacro %}

{% macro make_hook_config(sql, inside_transaction) %}
    {% do return(tojson({'sql': sql, 'transaction': inside_transaction})) %}
{% endmacro %}

{% macro before_begin(sql) %}{% do return(make_hook_config(sql, inside_transaction=false)) %}{% endmacro %}

{% macro after_commit(sql) %}{% do return(make_hook_config(sql, inside_transaction=false)) %}{% endmacro %}

{% macro get_quoted_csv(column_names) %}
    {% set quoted = [] %}
    {% for name in column_names %}{% do quoted.append(adapter.quote(name)) %}{% endfor %}
    {% do return(quoted | join(', ')) %}
{% endmacro %}

{% macro get_csv_sql(create_or_truncate_sql, insert_sql) %}{% do return('') %}{% endmacro %}

{# dbt-duckdb's, for models that are kept as files: those of the lake are there. #}
{% macro register_upstream_external_models() %}{% endmacro %}

{% macro resolve_model_name(input_model_name) %}
    {% do return((input_model_name | string).replace('"', '\\"')) %}
{% endmacro %}

{% macro get_list_of_column_names(columns) %}
    {% do return(columns | map(attribute='name') | list) %}
{% endmacro %}

{% macro get_column_schema_from_query(select_sql, select_sql_header=none) %}
    {% do return(adapter.get_column_schema_from_query(get_empty_subquery_sql(select_sql, select_sql_header))) %}
{% endmacro %}

{% macro information_schema_name(database) %}
    {{ return(adapter.dispatch('information_schema_name', 'dbt')(database)) }}
{% endmacro %}

{% macro default__information_schema_name(database) -%}
    information_schema
{%- endmacro %}
