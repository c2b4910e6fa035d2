{# What materializations and incremental strategies that a project writes itself are made of. #}

{% macro run_hooks(hooks, inside_transaction=true) %}
    {% for hook in hooks %}
        {% if hook.get('transaction', true) == inside_transaction %}
            {% set rendered = render(hook.get('sql')) | trim %}
            {% if rendered | length > 0 %}
                {% call statement(auto_begin=inside_transaction) %}{{ rendered }}{% endcall %}
            {% endif %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{% macro create_table_as(temporary, relation, compiled_code, language='sql') -%}
    {{ return(adapter.dispatch('create_table_as', 'dbt')(temporary, relation, compiled_code)) }}
{%- endmacro %}
{% macro default__create_table_as(temporary, relation, sql) -%}
    {%- set contract = config.get('contract') -%}
    {%- if contract and contract.enforced and not temporary -%}
        {{ get_assert_columns_equivalent(sql) }}
        {%- set sql = get_select_subquery(sql) -%}
    {%- endif -%}
    create or replace {% if temporary %}temporary {% endif %}table {{ relation }} as (
        {{ sql }}
    )
{%- endmacro %}
{% macro get_create_table_as_sql(temporary, relation, sql) -%}
    {{ return(create_table_as(temporary, relation, sql)) }}
{%- endmacro %}

{% macro create_view_as(relation, sql) -%}
    {{ return(adapter.dispatch('create_view_as', 'dbt')(relation, sql)) }}
{%- endmacro %}
{% macro default__create_view_as(relation, sql) -%}
    create or replace view {{ relation }} as (
        {{ sql }}
    )
{%- endmacro %}
{% macro get_create_view_as_sql(relation, sql) -%}
    {{ return(create_view_as(relation, sql)) }}
{%- endmacro %}

{% macro get_create_sql(relation, sql) -%}
    {{ return(create_view_as(relation, sql) if relation.is_view else create_table_as(false, relation, sql)) }}
{%- endmacro %}
{% macro get_drop_sql(relation) -%}
    drop {{ relation.type or 'table' }} if exists {{ relation }}
{%- endmacro %}
{% macro get_rename_sql(relation, new_name) -%}
    alter table {{ relation }} rename to {{ adapter.quote(new_name) }}
{%- endmacro %}

{% macro drop_relation(relation) %}{% do adapter.drop_relation(relation) %}{% endmacro %}
{% macro drop_relation_if_exists(relation) %}
    {% if relation is not none %}{% do adapter.drop_relation(relation) %}{% endif %}
{% endmacro %}
{% macro rename_relation(from_relation, to_relation) %}
    {% do adapter.rename_relation(from_relation, to_relation) %}
{% endmacro %}
{% macro truncate_relation(relation) %}{% do adapter.truncate_relation(relation) %}{% endmacro %}
{% macro drop_schema(relation) %}{% do adapter.drop_schema(relation) %}{% endmacro %}

{# There are no indexes: a project that has its own `get_create_index_sql` says what is done. #}
{% macro get_create_index_sql(relation, index_dict) -%}
    {{ return(adapter.dispatch('get_create_index_sql', 'dbt')(relation, index_dict)) }}
{%- endmacro %}
{% macro default__get_create_index_sql(relation, index_dict) -%}
    {% do return(none) %}
{%- endmacro %}
{% macro create_indexes(relation) -%}
    {{ adapter.dispatch('create_indexes', 'dbt')(relation) }}
{%- endmacro %}
{% macro default__create_indexes(relation) -%}
    {%- for entry in config.get('indexes', default=[]) %}
        {%- set statement_sql = get_create_index_sql(relation, entry) -%}
        {%- if statement_sql %}{% do run_query(statement_sql) %}{% endif -%}
    {%- endfor -%}
{%- endmacro %}

{% macro persist_docs(relation, model, for_relation=true, for_columns=true) %}
    {% set object = 'view' if relation.is_view else 'table' %}
    {% if for_relation and config.persist_relation_docs() and model.description %}
        {% do run_query('comment on ' ~ object ~ ' ' ~ relation ~ " is '" ~ (model.description | replace("'", "''")) ~ "'") %}
    {% endif %}
    {% if for_columns and config.persist_column_docs() %}
        {% for name, column in model.columns.items() %}
            {% if column.description %}
                {% do run_query('comment on column ' ~ relation ~ '.' ~ adapter.quote(name) ~ " is '" ~ (column.description | replace("'", "''")) ~ "'") %}
            {% endif %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro get_insert_into_sql(target_relation, temp_relation, dest_columns) -%}
    {%- set columns = get_quoted_csv(dest_columns | map(attribute='name')) -%}
    insert into {{ target_relation }} ({{ columns }}) select {{ columns }} from {{ temp_relation }}
{%- endmacro %}

{% macro get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {%- if unique_key -%}
        {%- set keys = [unique_key] if unique_key is string else unique_key -%}
        delete from {{ target }} as dbt_internal_target using {{ source }}
        where {% for key in keys %}{% if not loop.first %} and {% endif %}{{ source }}.{{ key }} = dbt_internal_target.{{ key }}{% endfor %}
        {%- for predicate in incremental_predicates or [] %} and {{ predicate }}{% endfor %};
    {%- endif %}
    {{ get_insert_into_sql(target, source, dest_columns) }}
{%- endmacro %}

{% macro get_merge_update_columns(merge_update_columns, merge_exclude_columns, dest_columns) %}
    {% set names = [] %}
    {% if merge_update_columns %}
        {% for name in merge_update_columns %}{% do names.append(adapter.quote(name)) %}{% endfor %}
    {% else %}
        {% set left_out = (merge_exclude_columns or []) | map('lower') | list %}
        {% for column in dest_columns %}
            {% if column.name | lower not in left_out %}{% do names.append(adapter.quote(column.name)) %}{% endif %}
        {% endfor %}
    {% endif %}
    {% do return(names) %}
{% endmacro %}

{% macro get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {%- set columns = get_quoted_csv(dest_columns | map(attribute='name')) -%}
    {%- set keys = [] if not unique_key else ([unique_key] if unique_key is string else unique_key) -%}
    {%- set conditions = (incremental_predicates or []) | list -%}
    {%- for key in keys %}{% do conditions.append('dbt_internal_source.' ~ key ~ ' = dbt_internal_dest.' ~ key) %}{% endfor -%}
    merge into {{ target }} as dbt_internal_dest
    using {{ source }} as dbt_internal_source
    on {{ conditions | join(' and ') if keys else 'false' }}
    {% if keys -%}
    when matched then update set
        {% for name in get_merge_update_columns(config.get('merge_update_columns'), config.get('merge_exclude_columns'), dest_columns) -%}
            {% if not loop.first %}, {% endif %}{{ name }} = dbt_internal_source.{{ name }}
        {%- endfor %}
    {% endif -%}
    when not matched then insert ({{ columns }}) values (
        {%- for column in dest_columns -%}
            {% if not loop.first %}, {% endif %}dbt_internal_source.{{ adapter.quote(column.name) }}
        {%- endfor -%}
    )
{%- endmacro %}

{% macro get_insert_overwrite_merge_sql(target, source, dest_columns, predicates, include_sql_header=false) -%}
    delete from {{ target }}{% if predicates %} where {{ predicates | join(' and ') }}{% endif %};
    {{ get_insert_into_sql(target, source, dest_columns) }}
{%- endmacro %}

{% macro get_incremental_append_sql(arg_dict) -%}
    {{ get_insert_into_sql(arg_dict['target_relation'], arg_dict['temp_relation'], arg_dict['dest_columns']) }}
{%- endmacro %}
{% macro get_incremental_delete_insert_sql(arg_dict) -%}
    {{ get_delete_insert_merge_sql(arg_dict['target_relation'], arg_dict['temp_relation'], arg_dict['unique_key'], arg_dict['dest_columns'], arg_dict.get('incremental_predicates')) }}
{%- endmacro %}
{% macro get_incremental_merge_sql(arg_dict) -%}
    {{ get_merge_sql(arg_dict['target_relation'], arg_dict['temp_relation'], arg_dict['unique_key'], arg_dict['dest_columns'], arg_dict.get('incremental_predicates')) }}
{%- endmacro %}
{% macro get_incremental_insert_overwrite_sql(arg_dict) -%}
    {{ get_insert_overwrite_merge_sql(arg_dict['target_relation'], arg_dict['temp_relation'], arg_dict['dest_columns'], arg_dict.get('incremental_predicates')) }}
{%- endmacro %}
{% macro get_incremental_default_sql(arg_dict) -%}
    {{ get_incremental_delete_insert_sql(arg_dict) if arg_dict['unique_key'] else get_incremental_append_sql(arg_dict) }}
{%- endmacro %}

{% macro incremental_validate_on_schema_change(on_schema_change, default='ignore') %}
    {% set known = ['sync_all_columns', 'append_new_columns', 'fail', 'ignore'] %}
    {% do return(on_schema_change if on_schema_change in known else default) %}
{% endmacro %}

{% macro diff_columns(source_columns, target_columns) %}
    {% set known = target_columns | map(attribute='name') | list %}
    {% set new = [] %}
    {% for column in source_columns %}{% if column.name not in known %}{% do new.append(column) %}{% endif %}{% endfor %}
    {% do return(new) %}
{% endmacro %}

{% macro diff_column_data_types(source_columns, target_columns) %}
    {% set changed = [] %}
    {% for source in source_columns %}
        {% for target in target_columns %}
            {% if source.name == target.name and source.data_type != target.data_type %}
                {% do changed.append({'column_name': target.name, 'new_type': source.data_type}) %}
            {% endif %}
        {% endfor %}
    {% endfor %}
    {% do return(changed) %}
{% endmacro %}

{% macro check_for_schema_changes(source_relation, target_relation) %}
    {% set source = adapter.get_columns_in_relation(source_relation) %}
    {% set target = adapter.get_columns_in_relation(target_relation) %}
    {% set new, gone = diff_columns(source, target), diff_columns(target, source) %}
    {% set types = diff_column_data_types(source, target) %}
    {% do return({
        'schema_changed': (new or gone or types) | length > 0,
        'source_not_in_target': new, 'target_not_in_source': gone,
        'source_columns': source, 'target_columns': target, 'new_target_types': types}) %}
{% endmacro %}

{% macro alter_relation_add_remove_columns(relation, add_columns=none, remove_columns=none) %}
    {% set changes = [] %}
    {% for column in add_columns or [] %}
        {% do changes.append('add column ' ~ column.quoted ~ ' ' ~ column.data_type) %}
    {% endfor %}
    {% for column in remove_columns or [] %}{% do changes.append('drop column ' ~ column.quoted) %}{% endfor %}
    {% if changes %}{% do run_query('alter table ' ~ relation ~ ' ' ~ (changes | join(', '))) %}{% endif %}
{% endmacro %}

{% macro alter_column_type(relation, column_name, new_column_type) %}
    {% do run_query('alter table ' ~ relation ~ ' alter column ' ~ adapter.quote(column_name) ~ ' type ' ~ new_column_type) %}
{% endmacro %}

{% macro sync_column_schemas(on_schema_change, target_relation, schema_changes_dict) %}
    {% set new = schema_changes_dict['source_not_in_target'] %}
    {% set gone = schema_changes_dict['target_not_in_source'] if on_schema_change == 'sync_all_columns' else [] %}
    {% do alter_relation_add_remove_columns(target_relation, new, gone) %}
    {% if on_schema_change == 'sync_all_columns' %}
        {% for change in schema_changes_dict['new_target_types'] %}
            {% do alter_column_type(target_relation, change['column_name'], change['new_type']) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro process_schema_changes(on_schema_change, source_relation, target_relation) %}
    {% if on_schema_change == 'ignore' %}{% do return([]) %}{% endif %}
    {% set found = check_for_schema_changes(source_relation, target_relation) %}
    {% if found['schema_changed'] %}
        {% if on_schema_change == 'fail' %}
            {% do exceptions.raise_compiler_error('the columns of the model and of its table are not the same; use another on_schema_change, or --full-refresh') %}
        {% endif %}
        {% do sync_column_schemas(on_schema_change, target_relation, found) %}
    {% endif %}
    {% do return(found['source_columns']) %}
{% endmacro %}

{% macro get_empty_subquery_sql(select_sql, select_sql_header=none) -%}
    select * from ({{ select_sql }}) as __dbt_sbq where false limit 0
{%- endmacro %}
{% macro get_assert_columns_equivalent(sql) -%}
    {{ return(adapter.dispatch('get_assert_columns_equivalent', 'dbt')(sql)) }}
{%- endmacro %}
{# The query that a materialization is given has the columns of the contract, or it is not called. #}
{% macro default__get_assert_columns_equivalent(sql) -%}
    {% do return('') %}
{%- endmacro %}

{% macro get_select_subquery(sql) -%}
    {{ return(adapter.dispatch('get_select_subquery', 'dbt')(sql)) }}
{%- endmacro %}
{% macro default__get_select_subquery(sql) -%}
    {%- set names = [] -%}
    {%- for column in model['columns'].values() -%}
        {%- do names.append(adapter.quote(column['name']) if column.get('quote') else column['name']) -%}
    {%- endfor -%}
    select {{ names | join(', ') }}
    from (
        {{ sql }}
    ) as model_subq
{%- endmacro %}

{% macro get_table_columns_and_constraints() -%}
    {{ return(adapter.dispatch('get_table_columns_and_constraints', 'dbt')()) }}
{%- endmacro %}
{% macro default__get_table_columns_and_constraints() -%}
    {{ return(table_columns_and_constraints()) }}
{%- endmacro %}
{% macro table_columns_and_constraints() -%}
    {%- set columns = adapter.render_raw_columns_constraints(raw_columns=model['columns']) -%}
    {%- set rest = adapter.render_raw_model_constraints(raw_constraints=model['constraints']) -%}
    (
    {{ (columns + rest) | join(',\n    ') }}
    )
{%- endmacro %}
