{# Relations of PostgreSQL: how they are made, named, swapped, described and opened to others. #}

{# Names have 63 bytes. #}
{% macro postgres__make_relation_with_suffix(base_relation, suffix, dstring) %}
    {% if dstring %}{% set suffix = suffix ~ modules.datetime.datetime.now().strftime('%H%M%S%f') %}{% endif %}
    {% set room = base_relation.relation_max_name_length() - (suffix | length) %}
    {% do return(base_relation.incorporate(path={'identifier': base_relation.identifier[:room] ~ suffix})) %}
{% endmacro %}

{% macro make_intermediate_relation(base_relation, suffix='__dbt_tmp') %}
    {% do return(adapter.dispatch('make_intermediate_relation', 'dbt')(base_relation, suffix)) %}
{% endmacro %}
{% macro default__make_intermediate_relation(base_relation, suffix) %}
    {% do return(postgres__make_relation_with_suffix(base_relation, suffix, dstring=false)) %}
{% endmacro %}

{# A temporary table has no schema; its name is its own, so that a session may have several. #}
{% macro make_temp_relation(base_relation, suffix='__dbt_tmp') %}
    {% do return(adapter.dispatch('make_temp_relation', 'dbt')(base_relation, suffix)) %}
{% endmacro %}
{% macro default__make_temp_relation(base_relation, suffix) %}
    {% set named = postgres__make_relation_with_suffix(base_relation, suffix, dstring=true) %}
    {% do return(named.incorporate(path={'schema': none, 'database': none})) %}
{% endmacro %}

{% macro make_backup_relation(base_relation, backup_relation_type, suffix='__dbt_backup') %}
    {% do return(adapter.dispatch('make_backup_relation', 'dbt')(base_relation, backup_relation_type, suffix)) %}
{% endmacro %}
{% macro default__make_backup_relation(base_relation, backup_relation_type, suffix) %}
    {% set named = postgres__make_relation_with_suffix(base_relation, suffix, dstring=false) %}
    {% do return(named.incorporate(type=backup_relation_type)) %}
{% endmacro %}

{% macro create_schema(relation) %}{% do adapter.create_schema(relation) %}{% endmacro %}

{% macro get_or_create_relation(database, schema, identifier, type) %}
    {% set found = adapter.get_relation(database=database, schema=schema, identifier=identifier) %}
    {% if found %}{% do return([true, found]) %}{% endif %}
    {% do return([false, api.Relation.create(
        database=database, schema=schema, identifier=identifier, type=type)]) %}
{% endmacro %}

{# The columns of a contract, and that the query keeps to them. #}
{% macro get_assert_columns_equivalent(sql) -%}
    {{ return(adapter.dispatch('get_assert_columns_equivalent', 'dbt')(sql)) }}
{%- endmacro %}
{% macro default__get_assert_columns_equivalent(sql) -%}
    {{ return(assert_columns_equivalent(sql)) }}
{%- endmacro %}

{# Types are compared as dbt-postgres compares them: by what a driver makes of them. #}
{% macro tidemill_contract_type(data_type) %}
    {% set bare = (data_type | string | lower).split('(')[0] | trim %}
    {% set alike = {
        'smallint': 'integer', 'character varying': 'text', 'character': 'text', 'name': 'text',
        'real': 'double precision'
    } %}
    {% do return(alike.get(bare, bare)) %}
{% endmacro %}

{% macro get_empty_schema_sql(columns) -%}
    {{ return(adapter.dispatch('get_empty_schema_sql', 'dbt')(columns)) }}
{%- endmacro %}
{% macro default__get_empty_schema_sql(columns) -%}
    {%- set selected = [] -%}
    {%- for column in columns.values() -%}
        {%- do selected.append('cast(null as ' ~ column['data_type'] ~ ') as ' ~ (adapter.quote(column['name']) if column.get('quote') else column['name'])) -%}
    {%- endfor -%}
    select {{ selected | join(', ') }} where false
{%- endmacro %}

{% macro assert_columns_equivalent(sql) %}
    {% set header = config.get('sql_header') %}
    {% if header %}{% do run_query(header) %}{% endif %}
    {% set found = adapter.get_column_schema_from_query(sql) %}
    {% set promised = adapter.get_column_schema_from_query(get_empty_schema_sql(model['columns'])) %}
    {% set lines = [] %}
    {% set names = found | map(attribute='name') | map('lower') | list %}
    {% for column in found %}
        {% set other = [] %}
        {% for wanted in promised %}{% if wanted.name | lower == column.name | lower %}{% do other.append(wanted) %}{% endif %}{% endfor %}
        {% if not other %}
            {% do lines.append('| ' ~ column.name ~ ' | ' ~ column.data_type ~ ' | | missing in contract |') %}
        {% elif tidemill_contract_type(column.data_type) != tidemill_contract_type(other[0].data_type) %}
            {% do lines.append('| ' ~ column.name ~ ' | ' ~ column.data_type ~ ' | ' ~ other[0].data_type ~ ' | data type mismatch |') %}
        {% endif %}
    {% endfor %}
    {% for column in promised %}
        {% if column.name | lower not in names %}
            {% do lines.append('| ' ~ column.name ~ ' | | ' ~ column.data_type ~ ' | missing in definition |') %}
        {% endif %}
    {% endfor %}
    {% if lines %}
        {% do exceptions.raise_compiler_error(
            'This model has an enforced contract that failed.\n'
            ~ "Please ensure the name, data_type, and number of columns in your contract match the columns in your model's definition.\n\n"
            ~ '| column_name | definition_type | contract_type | mismatch_reason |\n'
            ~ '| ----------- | --------------- | ------------- | --------------- |\n'
            ~ (lines | sort | join('\n'))) %}
    {% endif %}
{% endmacro %}

{# Constraints whose `to: ref('x')` names the relation. #}
{% macro tidemill_resolved(constraints) %}
    {% set resolved = [] %}
    {% for constraint in constraints %}
        {% set one = dict(constraint) %}
        {% if one.get('to') and '(' in one['to'] %}{% do one.update({'to': render('{{ ' ~ one['to'] ~ ' }}')}) %}{% endif %}
        {% do resolved.append(one) %}
    {% endfor %}
    {% do return(resolved) %}
{% endmacro %}

{% macro get_table_columns_and_constraints() -%}
    {{ return(adapter.dispatch('get_table_columns_and_constraints', 'dbt')()) }}
{%- endmacro %}
{% macro default__get_table_columns_and_constraints() -%}
    {{ return(table_columns_and_constraints()) }}
{%- endmacro %}
{% macro table_columns_and_constraints() %}
    {%- set columns = {} -%}
    {%- for name, column in model['columns'].items() -%}
        {%- set resolved = dict(column) -%}
        {%- do resolved.update({'constraints': tidemill_resolved(column.get('constraints') or [])}) -%}
        {%- do columns.update({name: resolved}) -%}
    {%- endfor -%}
    {%- set lines = adapter.render_raw_columns_constraints(raw_columns=columns)
        + adapter.render_raw_model_constraints(raw_constraints=tidemill_resolved(model.get('constraints') or [])) -%}
    (
    {{ lines | join(',\n    ') }}
    )
{% endmacro %}

{% macro get_column_names() %}{{ return(adapter.dispatch('get_column_names', 'dbt')()) }}{% endmacro %}
{% macro default__get_column_names() %}
    {%- set names = [] -%}
    {%- for column in model['columns'].values() -%}
        {%- do names.append(adapter.quote(column['name']) if column.get('quote') else column['name']) -%}
    {%- endfor -%}
    {{ return(names | join(', ')) }}
{% endmacro %}
{% macro get_select_subquery(sql) -%}
    {{ return(adapter.dispatch('get_select_subquery', 'dbt')(sql)) }}
{%- endmacro %}
{% macro default__get_select_subquery(sql) -%}
    select {{ adapter.dispatch('get_column_names', 'dbt')() }}
    from (
        {{ sql }}
    ) as model_subq
{%- endmacro %}

{% macro default__create_table_as(temporary, relation, sql) -%}
    {%- set enforced = (config.get('contract') or {}).get('enforced', false) -%}
    {%- if enforced -%}{%- do get_assert_columns_equivalent(sql) -%}{%- endif -%}
    {{ config.get('sql_header') or '' }}
    create {{ 'temporary' if temporary else ('unlogged' if config.get('unlogged') else '') }} table {{ relation }}
    {%- if enforced and not temporary %} {{ get_table_columns_and_constraints() }};
    insert into {{ relation }} ({{ adapter.dispatch('get_column_names', 'dbt')() }})
    (
        {{ get_select_subquery(sql) }}
    )
    {%- else %} as (
        {{ sql }}
    )
    {%- endif %}
{%- endmacro %}

{% macro default__create_view_as(relation, sql) -%}
    {%- if (config.get('contract') or {}).get('enforced', false) -%}{%- do get_assert_columns_equivalent(sql) -%}{%- endif -%}
    {{ config.get('sql_header') or '' }}
    create view {{ relation }} as (
        {{ sql }}
    )
{%- endmacro %}

{% macro get_create_materialized_view_as_sql(relation, sql) -%}
    {{ return(adapter.dispatch('get_create_materialized_view_as_sql', 'dbt')(relation, sql)) }}
{%- endmacro %}
{% macro default__get_create_materialized_view_as_sql(relation, sql) -%}
    create materialized view {{ relation }} as (
        {{ sql }}
    )
{%- endmacro %}
{% macro refresh_materialized_view(relation) -%}
    {{ return(adapter.dispatch('refresh_materialized_view', 'dbt')(relation)) }}
{%- endmacro %}
{% macro default__refresh_materialized_view(relation) -%}
    refresh materialized view {{ relation }}
{%- endmacro %}

{% macro get_create_sql(relation, sql) -%}
    {%- if relation.is_view -%}{{ get_create_view_as_sql(relation, sql) }}
    {%- elif relation.is_materialized_view -%}{{ get_create_materialized_view_as_sql(relation, sql) }}
    {%- else -%}{{ get_create_table_as_sql(false, relation, sql) }}
    {%- endif -%}
{%- endmacro %}
{% macro tidemill_words(relation) %}{% do return(((relation.type or 'table') | string).replace('_', ' ')) %}{% endmacro %}
{% macro get_drop_sql(relation) -%}
    drop {{ tidemill_words(relation) }} if exists {{ relation }} cascade
{%- endmacro %}
{% macro get_rename_sql(relation, new_name) -%}
    alter {{ tidemill_words(relation) }} {{ relation }} rename to {{ adapter.quote(new_name) }}
{%- endmacro %}

{# Indexes. The name has the time in it, so that the next build of the table can have the same ones. #}
{% macro create_indexes(relation) %}{% do adapter.dispatch('create_indexes', 'dbt')(relation) %}{% endmacro %}
{% macro default__create_indexes(relation) %}
    {% for index in config.get('indexes') or [] %}
        {% set create = get_create_index_sql(relation, index) %}
        {% if create %}{% call statement() %}{{ create }}{% endcall %}{% endif %}
    {% endfor %}
{% endmacro %}
{% macro get_create_index_sql(relation, index_dict) -%}
    {{ return(adapter.dispatch('get_create_index_sql', 'dbt')(relation, index_dict)) }}
{%- endmacro %}
{% macro default__get_create_index_sql(relation, index_dict) -%}
    {%- set index = adapter.parse_index(index_dict) -%}
    create {{ 'unique' if index.unique }} index if not exists "{{ local_md5(index.render(relation) ~ modules.datetime.datetime.now()) }}"
    on {{ relation }} {% if index.type %}using {{ index.type }} {% endif %}({{ index.columns | join(', ') }})
{%- endmacro %}
{% macro get_show_indexes_sql(relation) -%}
    select i.relname as name, m.amname as method, x.indisunique as "unique",
        array_to_string(array_agg(a.attname order by array_position(x.indkey, a.attnum)), ',') as column_names
    from pg_index x
    join pg_class i on i.oid = x.indexrelid
    join pg_am m on m.oid = i.relam
    join pg_class t on t.oid = x.indrelid
    join pg_namespace n on n.oid = t.relnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum = any(x.indkey)
    where t.relname = '{{ relation.identifier }}' and n.nspname = '{{ relation.schema }}' and t.relkind in ('r', 'm')
    group by 1, 2, 3
    order by 1, 2, 3
{%- endmacro %}
{% macro get_drop_index_sql(relation, index_name) -%}
    drop index if exists {{ adapter.quote(relation.schema) }}.{{ adapter.quote(index_name) }}
{%- endmacro %}

{# Grants: what the configuration says, and nothing else of what this role has given. A name is
   written as the configuration has it. #}
{% macro postgres__copy_grants() %}{{ return(false) }}{% endmacro %}
{% macro postgres__get_show_grant_sql(relation) -%}
    select grantee, privilege_type
    from information_schema.role_table_grants
    where grantor = current_role and grantee != current_role
        and table_schema = '{{ relation.schema }}' and table_name = '{{ relation.identifier }}'
{%- endmacro %}
{% macro postgres__get_grant_sql(relation, privilege, grantees) -%}
    grant {{ privilege }} on {{ relation.render() }} to {{ (grantees if grantees is not string else [grantees]) | join(', ') }}
{%- endmacro %}
{% macro postgres__get_revoke_sql(relation, privilege, grantees) -%}
    {%- set names = [] -%}
    {%- for name in grantees if name -%}{%- do names.append(name if name | lower == 'public' else adapter.quote(name)) -%}{%- endfor -%}
    revoke {{ privilege }} on {{ relation.render() }} from {{ names | join(', ') }}
{%- endmacro %}

{# Descriptions become comments. #}
{% macro tidemill_literal(text) %}{% do return("'" ~ (text | string | replace("'", "''")) ~ "'") %}{% endmacro %}
{% macro alter_relation_comment(relation, comment) -%}
    {{ return(adapter.dispatch('alter_relation_comment', 'dbt')(relation, comment)) }}
{%- endmacro %}
{% macro default__alter_relation_comment(relation, comment) -%}
    comment on {{ tidemill_words(relation) }} {{ relation }} is {{ tidemill_literal(comment) }}
{%- endmacro %}
{% macro alter_column_comment(relation, column_dict) -%}
    {{ return(adapter.dispatch('alter_column_comment', 'dbt')(relation, column_dict)) }}
{%- endmacro %}
{% macro default__alter_column_comment(relation, column_dict) -%}
    {%- set there = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
    {%- set statements = [] -%}
    {%- for name, column in column_dict.items() if name in there -%}
        {%- do statements.append('comment on column ' ~ relation ~ '.' ~ adapter.quote(name) ~ ' is ' ~ tidemill_literal(column['description'])) -%}
    {%- endfor -%}
    {{ statements | join(';\n') }}
{%- endmacro %}
{% macro persist_docs(relation, model, for_relation=true, for_columns=true) %}
    {% do adapter.dispatch('persist_docs', 'dbt')(relation, model, for_relation, for_columns) %}
{% endmacro %}
{% macro default__persist_docs(relation, model, for_relation, for_columns) %}
    {% if for_relation and config.persist_relation_docs() and model.description %}
        {% do run_query(alter_relation_comment(relation, model.description)) %}
    {% endif %}
    {% if for_columns and config.persist_column_docs() and model.columns %}
        {% set comments = alter_column_comment(relation, model.columns) | trim %}
        {% if comments %}{% do run_query(comments) %}{% endif %}
    {% endif %}
{% endmacro %}
