{# What snapshot strategies that a project writes itself are made of. A strategy is a macro
   `snapshot_NAME_strategy(node, snapshotted_rel, current_rel, model_config, target_exists)`. #}

{% macro strategy_dispatch(name) %}
    {% set parts = name.split('.') %}
    {% set known = context if parts | length == 1 else context[parts[0]] %}
    {% set macro_name = 'snapshot_' ~ parts[-1] ~ '_strategy' %}
    {% if parts | length == 1 and macro_name not in known %}
        {% do exceptions.raise_compiler_error('there is no snapshot strategy `' ~ name ~ '`: a strategy of your own is a macro `' ~ macro_name ~ '`') %}
    {% endif %}
    {% do return(known[macro_name]) %}
{% endmacro %}

{% macro snapshot_hash_arguments(args) -%}
    {{ return(adapter.dispatch('snapshot_hash_arguments', 'dbt')(args)) }}
{%- endmacro %}
{% macro default__snapshot_hash_arguments(args) -%}
    {%- set texts = [] -%}
    {%- for arg in args %}{% do texts.append("coalesce(cast(" ~ arg ~ " as varchar), '')") %}{% endfor -%}
    md5({{ texts | join(" || '|' || ") }})
{%- endmacro %}

{% macro get_snapshot_table_column_names() %}
    {% set names = {} %}
    {% set own = config.get('snapshot_meta_column_names') or {} %}
    {% for name in ['dbt_valid_from', 'dbt_valid_to', 'dbt_scd_id', 'dbt_updated_at', 'dbt_is_deleted'] %}
        {% do names.update({name: own.get(name) or name}) %}
    {% endfor %}
    {% do return(names) %}
{% endmacro %}

{% macro get_true_sql() %}{{ return(adapter.dispatch('get_true_sql', 'dbt')()) }}{% endmacro %}
{% macro default__get_true_sql() %}{{ return('true') }}{% endmacro %}

{% macro snapshot_string_as_time(timestamp) -%}
    {{ return(adapter.dispatch('snapshot_string_as_time', 'dbt')(timestamp)) }}
{%- endmacro %}
{% macro default__snapshot_string_as_time(timestamp) -%}
    cast('{{ timestamp }}' as timestamp)
{%- endmacro %}

{% macro unique_key_fields(unique_key) -%}
    {%- if unique_key is string -%}
        {{ unique_key }} as dbt_unique_key
    {%- else -%}
        {%- for key in unique_key %}{{ key }} as dbt_unique_key_{{ loop.index }}{% if not loop.last %}, {% endif %}{% endfor -%}
    {%- endif -%}
{%- endmacro %}
{% macro unique_key_join_on(unique_key, identifier, from_identifier) -%}
    {%- if unique_key is string -%}
        {{ identifier }}.dbt_unique_key = {{ from_identifier }}.dbt_unique_key
    {%- else -%}
        {%- for key in unique_key %}{{ identifier }}.dbt_unique_key_{{ loop.index }} = {{ from_identifier }}.dbt_unique_key_{{ loop.index }}{% if not loop.last %} and {% endif %}{% endfor -%}
    {%- endif -%}
{%- endmacro %}
{% macro unique_key_is_null(unique_key, identifier) -%}
    {{ identifier }}.dbt_unique_key{{ '' if unique_key is string else '_1' }} is null
{%- endmacro %}
{% macro unique_key_is_not_null(unique_key, identifier) -%}
    {{ identifier }}.dbt_unique_key{{ '' if unique_key is string else '_1' }} is not null
{%- endmacro %}

{# What every strategy returns. #}
{% macro _snapshot_strategy(updated_at, row_changed) %}
    {% set key = config.get('unique_key') %}
    {% set hard_deletes = adapter.get_hard_deletes_behavior(config) %}
    {% do return({
        'unique_key': key,
        'updated_at': updated_at,
        'row_changed': row_changed,
        'scd_id': snapshot_hash_arguments(api.Relation.scd_args(key, updated_at)),
        'invalidate_hard_deletes': hard_deletes == 'invalidate',
        'hard_deletes': hard_deletes}) %}
{% endmacro %}

{% macro snapshot_timestamp_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) %}
    {% set columns = get_snapshot_table_column_names() %}
    {% set updated_at = config.get('updated_at') %}
    {% set row_changed = '(' ~ snapshotted_rel ~ '.' ~ columns.dbt_valid_from ~ ' < ' ~ current_rel ~ '.' ~ updated_at ~ ')' %}
    {% do return(_snapshot_strategy(updated_at, row_changed)) %}
{% endmacro %}

{# Whether the query has a column that the snapshot lacks, and the columns that both have. #}
{% macro snapshot_check_all_get_existing_columns(node, target_exists, check_cols_config) %}
    {% if not target_exists %}{% do return((false, [])) %}{% endif %}
    {% if check_cols_config == 'all' %}
        {% set wanted = get_columns_in_query(node['compiled_code']) %}
    {% elif check_cols_config is not string and check_cols_config is iterable and check_cols_config | length > 0 %}
        {% set wanted = get_columns_in_query('select ' ~ (check_cols_config | join(', ')) ~ ' from (' ~ node['compiled_code'] ~ ') as dbt_checked') %}
    {% else %}
        {% do exceptions.raise_compiler_error('`check_cols` must be `all` or a list of columns, not ' ~ check_cols_config) %}
    {% endif %}
    {% set target = adapter.get_relation(database=node.database, schema=node.schema, identifier=node.alias) %}
    {% set there = adapter.get_columns_in_relation(target) | map(attribute='name') | list %}
    {% set both = [] %}
    {% for name in wanted if name in there %}{% do both.append(adapter.quote(name)) %}{% endfor %}
    {% do return((both | length < wanted | length, both)) %}
{% endmacro %}

{% macro snapshot_check_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) %}
    {% set column_added, columns = snapshot_check_all_get_existing_columns(node, target_exists, config.get('check_cols')) %}
    {% set changes = [] %}
    {% for column in columns %}
        {% do changes.append(snapshotted_rel ~ '.' ~ column ~ ' is distinct from ' ~ current_rel ~ '.' ~ column) %}
    {% endfor %}
    {% set row_changed = get_true_sql() if column_added or not changes else '(' ~ (changes | join(' or ')) ~ ')' %}
    {% do return(_snapshot_strategy(config.get('updated_at') or snapshot_get_time(), row_changed)) %}
{% endmacro %}

{% macro get_dbt_valid_to_current(strategy, columns) -%}
    coalesce(nullif({{ strategy.updated_at }}, {{ strategy.updated_at }}), {{ config.get('dbt_valid_to_current') or 'null' }})
    as {{ columns.dbt_valid_to }}
{%- endmacro %}
