{# The built-in materializations of PostgreSQL. A table or view is built beside the one that is there
   and takes its place when its checks have passed; rows are changed in place in one transaction. #}

{# What a run that was killed has left behind. #}
{% macro tidemill_clear(relation) %}
    {% set left = load_cached_relation(relation) %}
    {% if left is not none %}{% do adapter.drop_relation(left) %}{% endif %}
{% endmacro %}

{# Puts a finished candidate in the place of a relation; gives what is to be dropped behind it. #}
{% macro tidemill_swap(candidate, target, existing, backup) %}
    {% do adapter.check_candidate(candidate) %}
    {% if existing is not none %}{% do adapter.rename_relation(existing, backup) %}{% endif %}
    {% do adapter.rename_relation(candidate, target) %}
{% endmacro %}

{% materialization table, default %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set candidate = make_intermediate_relation(target) -%}
    {%- set backup = make_backup_relation(target, 'table' if existing is none else existing.type) -%}
    {% do tidemill_clear(candidate) %}
    {% do tidemill_clear(backup) %}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% call statement('main') %}{{ get_create_table_as_sql(false, candidate, sql) }}{% endcall %}
    {% do create_indexes(candidate) %}
    {% do tidemill_swap(candidate, target, existing, backup) %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=true)) %}
    {% do persist_docs(target, model) %}
    {% do adapter.commit() %}
    {% if existing is not none %}{% do adapter.drop_relation(backup) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% materialization view, default %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='view') -%}
    {%- set candidate = make_intermediate_relation(target) -%}
    {%- set backup = make_backup_relation(target, 'view' if existing is none else existing.type) -%}
    {% do tidemill_clear(candidate) %}
    {% do tidemill_clear(backup) %}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% call statement('main') %}{{ get_create_view_as_sql(candidate, sql) }}{% endcall %}
    {% do tidemill_swap(candidate, target, existing, backup) %}
    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=true)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do adapter.commit() %}
    {% if existing is not none %}{% do adapter.drop_relation(backup) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% materialization incremental, default %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set candidate = make_intermediate_relation(target) -%}
    {%- set backup = make_backup_relation(target, 'table' if existing is none else existing.type) -%}
    {%- set anew = existing is none or should_full_refresh() or not existing.is_table -%}
    {%- set on_schema_change = incremental_validate_on_schema_change(config.get('on_schema_change'), default='ignore') -%}
    {%- set strategy = adapter.get_incremental_strategy_macro(context, config.get('incremental_strategy') or 'default') -%}
    {% do tidemill_clear(candidate) %}
    {% do tidemill_clear(backup) %}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% if anew %}
        {% call statement('main') %}{{ get_create_table_as_sql(false, candidate, sql) }}{% endcall %}
        {% do create_indexes(candidate) %}
        {% do tidemill_swap(candidate, target, existing, backup) %}
    {% else %}
        {% set rows = make_temp_relation(target) %}
        {% call statement('rows') %}{{ get_create_table_as_sql(true, rows, sql) }}{% endcall %}
        {% if not (config.get('contract') or {}).get('enforced', false) %}
            {% do adapter.expand_target_column_types(from_relation=rows, to_relation=target) %}
        {% endif %}
        {% set columns = process_schema_changes(on_schema_change, rows, existing) or adapter.get_columns_in_relation(existing) %}
        {% call statement('main') %}
            {{ strategy({
                'target_relation': target, 'temp_relation': rows, 'unique_key': config.get('unique_key'),
                'dest_columns': columns,
                'incremental_predicates': config.get('predicates') or config.get('incremental_predicates')}) }}
        {% endcall %}
        {% do adapter.drop_relation(rows.incorporate(type='table')) %}
    {% endif %}
    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, anew)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do adapter.commit() %}
    {% if anew and existing is not none %}{% do adapter.drop_relation(backup) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro get_incremental_microbatch_sql(arg_dict) -%}
    {{ return(adapter.dispatch('get_incremental_microbatch_sql', 'dbt')(arg_dict)) }}
{%- endmacro %}
{% macro default__get_incremental_microbatch_sql(arg_dict) -%}
    {%- if not arg_dict['unique_key'] -%}
        {{ exceptions.raise_compiler_error('a microbatch model needs a `unique_key` in PostgreSQL') }}
    {%- endif -%}
    {{ get_incremental_merge_sql(arg_dict) }}
{%- endmacro %}

{# Rows of a seed take the place of those that are there; another set of columns makes another table. #}
{% macro tidemill_create_seed(relation, columns) %}
    {% set lines = [] %}
    {% for column in columns %}
        {% do lines.append(adapter.quote(column['name']) ~ ' ' ~ column['data_type']) %}
    {% endfor %}
    {% call statement('create') %}
        create {{ 'unlogged' if config.get('unlogged') }} table {{ relation }} ({{ lines | join(', ') }})
    {% endcall %}
{% endmacro %}

{% materialization seed, default %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set candidate = make_intermediate_relation(target) -%}
    {%- set backup = make_backup_relation(target, 'table') -%}
    {% if existing is not none and not existing.is_table %}
        {% do exceptions.raise_compiler_error('a seed cannot take the place of ' ~ existing ~ ', which is a ' ~ existing.type) %}
    {% endif %}
    {% do tidemill_clear(candidate) %}
    {% do tidemill_clear(backup) %}
    {% set columns = adapter.seed_columns() %}
    {% set given = config.get('column_types') or {} %}
    {% set same = namespace(value=existing is not none and not should_full_refresh()) %}
    {% if same.value %}
        {% set there = adapter.get_columns_in_relation(existing) %}
        {% if there | length != columns | length %}{% set same.value = false %}{% endif %}
        {% for column in columns if same.value %}
            {% set other = there[loop.index0] %}
            {% if other.name != column['name'] or (column['name'] not in given and other.data_type != column['data_type']) %}
                {% set same.value = false %}
            {% endif %}
        {% endfor %}
    {% endif %}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% if same.value %}
        {% call statement('empty') %}delete from {{ target }}{% endcall %}
        {% set rows = adapter.load_seed(target) %}
    {% else %}
        {% do tidemill_create_seed(candidate, columns) %}
        {% set rows = adapter.load_seed(candidate) %}
        {% do create_indexes(candidate) %}
        {% do tidemill_swap(candidate, target, existing, backup) %}
    {% endif %}
    {% set code = 'CREATE' if should_full_refresh() else 'INSERT' %}
    {{ noop_statement('main', code ~ ' ' ~ rows, code, rows) }}
    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, not same.value)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do adapter.commit() %}
    {% if not same.value and existing is not none %}{% do adapter.drop_relation(backup) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{# The indexes of a materialized view that the configuration does not have, and those it has and the
   view does not. #}
{% macro tidemill_index_changes(relation) %}
    {% set wanted = [] %}
    {% for index in config.get('indexes') or [] %}
        {% do wanted.append([index['columns'] | join(','), (index.get('type') or 'btree') | lower, index.get('unique', false)]) %}
    {% endfor %}
    {% set found, drops = [], [] %}
    {% for row in run_query(get_show_indexes_sql(relation)) %}
        {% set shape = [row[3], row[1], row[2]] %}
        {% do found.append(shape) %}
        {% if shape not in wanted %}{% do drops.append(row[0]) %}{% endif %}
    {% endfor %}
    {% set creates = [] %}
    {% for index in config.get('indexes') or [] %}
        {% if wanted[loop.index0] not in found %}{% do creates.append(index) %}{% endif %}
    {% endfor %}
    {% do return({'drops': drops, 'creates': creates}) %}
{% endmacro %}

{% materialization materialized_view, default %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='materialized_view') -%}
    {%- set candidate = make_intermediate_relation(target) -%}
    {%- set backup = make_backup_relation(target, 'materialized_view' if existing is none else existing.type) -%}
    {%- set anew = existing is none or should_full_refresh() or not existing.is_materialized_view -%}
    {% do tidemill_clear(candidate) %}
    {% do tidemill_clear(backup) %}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% if anew %}
        {% call statement('main') %}{{ get_create_materialized_view_as_sql(candidate, sql) }}{% endcall %}
        {% do create_indexes(candidate) %}
        {% do tidemill_swap(candidate, target, existing, backup) %}
    {% else %}
        {% set changes = tidemill_index_changes(existing) %}
        {% set reaction = config.get('on_configuration_change') or 'apply' %}
        {% if not changes['drops'] and not changes['creates'] %}
            {% call statement('main') %}{{ refresh_materialized_view(target) }}{% endcall %}
        {% elif reaction == 'apply' %}
            {% for name in changes['drops'] %}{% call statement('index') %}{{ get_drop_index_sql(target, name) }}{% endcall %}{% endfor %}
            {% for index in changes['creates'] %}{% call statement('main') %}{{ get_create_index_sql(target, index) }}{% endcall %}{% endfor %}
        {% elif reaction == 'continue' %}
            {% do exceptions.warn('the indexes of ' ~ target ~ ' are not those of its configuration, and `on_configuration_change` is `continue`') %}
            {{ noop_statement('main', 'skip ' ~ target, 'skip', -1) }}
        {% else %}
            {% do exceptions.raise_compiler_error('the indexes of ' ~ target ~ ' are not those of its configuration, and `on_configuration_change` is `' ~ reaction ~ '`') %}
        {% endif %}
    {% endif %}
    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, anew)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do adapter.commit() %}
    {% if anew and existing is not none %}{% do adapter.drop_relation(backup) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
