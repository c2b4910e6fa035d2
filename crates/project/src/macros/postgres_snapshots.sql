{# Snapshots: of each key the table has one row that holds still. What has changed since is gathered
   in a temporary table, then rows that end get their end, and new ones are added. The strategy says
   what a change is; its macro may be the project's. #}

{# What stands in the end of a row that holds still, in the type of the time. #}
{% macro tidemill_still(time) %}
    {% do return('coalesce(nullif(' ~ time ~ ', ' ~ time ~ '), ' ~ (config.get('dbt_valid_to_current') or 'null') ~ ')') %}
{% endmacro %}

{% macro tidemill_first_snapshot(strategy, names) -%}
    select source_data.*,
        {{ strategy.scd_id }} as {{ names.dbt_scd_id }},
        {{ strategy.updated_at }} as {{ names.dbt_updated_at }},
        {{ strategy.updated_at }} as {{ names.dbt_valid_from }},
        {{ tidemill_still(strategy.updated_at) }} as {{ names.dbt_valid_to }}
        {%- if strategy.hard_deletes == 'new_record' %}, 'False' as {{ names.dbt_is_deleted }}{% endif %}
    from (
        {{ sql }}
    ) as source_data
{%- endmacro %}

{% macro tidemill_snapshot_changes(target, strategy, names, source_columns, table_columns) -%}
    {%- set now = snapshot_get_time() -%}
    {%- set new_record = strategy.hard_deletes == 'new_record' -%}
    {%- set deletes = strategy.hard_deletes in ('invalidate', 'new_record') -%}
    {%- set keys, meets = [], [] -%}
    {%- for key in ([strategy.unique_key] if strategy.unique_key is string else strategy.unique_key) -%}
        {%- do keys.append(key ~ ' as snapshot_key_' ~ loop.index) -%}
        {%- do meets.append('snapshotted_data.snapshot_key_' ~ loop.index ~ ' = source_data.snapshot_key_' ~ loop.index) -%}
    {%- endfor -%}
    {%- set keys, meets = keys | join(', '), meets | join(' and ') -%}
    {%- set current = config.get('dbt_valid_to_current') -%}
    {%- set open = names.dbt_valid_to ~ ' is null' -%}
    {%- if current -%}{%- set open = '(' ~ names.dbt_valid_to ~ ' = ' ~ current ~ ' or ' ~ names.dbt_valid_to ~ ' is null)' -%}{%- endif -%}
    {%- set was_deleted = 'snapshotted_data.' ~ names.dbt_is_deleted -%}
    {%- set changed = '(' ~ strategy.row_changed ~ (' or ' ~ was_deleted ~ " = 'True'" if new_record else '') ~ ')' -%}
    {%- set columns, nothing, kept = [], [], [] -%}
    {%- for name in source_columns -%}
        {%- do columns.append('source_data.' ~ adapter.quote(name)) -%}
        {%- do nothing.append('null') -%}
        {%- do kept.append(('snapshotted_data.' ~ adapter.quote(name)) if name in table_columns else 'null') -%}
    {%- endfor -%}
    {%- set columns = columns | join(', ') -%}
    with source_data as (
        select *, {{ keys }}, {{ strategy.updated_at }} as snapshot_time, {{ strategy.scd_id }} as snapshot_id, true as snapshot_there
        from (
            {{ sql }}
        ) as snapshot_source
    ),
    snapshotted_data as (
        select *, {{ keys }}, true as snapshot_there from {{ target }} where {{ open }}
    )
    select 'insert'::text as dbt_change_type, {{ columns }}, source_data.snapshot_id as {{ names.dbt_scd_id }},
        source_data.snapshot_time as {{ names.dbt_updated_at }}, source_data.snapshot_time as {{ names.dbt_valid_from }},
        {{ tidemill_still('source_data.snapshot_time') }} as {{ names.dbt_valid_to }}
        {%- if new_record %}, 'False' as {{ names.dbt_is_deleted }}{% endif %}
    from source_data left join snapshotted_data on {{ meets }}
    where snapshotted_data.snapshot_there is null or {{ changed }}
    union all
    select 'update', {{ columns }}, snapshotted_data.{{ names.dbt_scd_id }},
        source_data.snapshot_time, source_data.snapshot_time, source_data.snapshot_time
        {%- if new_record %}, {{ was_deleted }}{% endif %}
    from source_data join snapshotted_data on {{ meets }}
    where {{ changed }}
    {%- if deletes %}
    union all
    select 'delete', {{ nothing | join(', ') }}, snapshotted_data.{{ names.dbt_scd_id }}, {{ now }}, {{ now }}, {{ now }}
        {%- if new_record %}, {{ was_deleted }}{% endif %}
    from snapshotted_data left join source_data on {{ meets }}
    where source_data.snapshot_there is null
        {%- if new_record %} and {{ was_deleted }} is distinct from 'True'{% endif %}
    {%- endif %}
    {%- if new_record %}
    union all
    select 'insert', {{ kept | join(', ') }},
        {{ snapshot_hash_arguments(['snapshotted_data.' ~ names.dbt_scd_id, now]) }}, {{ now }}, {{ now }}, snapshotted_data.{{ names.dbt_valid_to }}, 'True'
    from snapshotted_data left join source_data on {{ meets }}
    where source_data.snapshot_there is null and {{ was_deleted }} is distinct from 'True'
    {%- endif %}
{%- endmacro %}

{% materialization snapshot, default %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {% if existing is not none and not existing.is_table %}
        {% do exceptions.raise_compiler_error('a snapshot cannot take the place of ' ~ existing ~ ', which is a ' ~ existing.type) %}
    {% endif %}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% set names = get_snapshot_table_column_names() %}
    {% set strategy = strategy_dispatch(config.get('strategy'))(model, 'snapshotted_data', 'source_data', model['config'], existing is not none) %}
    {% if existing is none %}
        {% call statement('main') %}{{ create_table_as(false, target, tidemill_first_snapshot(strategy, names)) }}{% endcall %}
        {% do create_indexes(target) %}
    {% else %}
        {% do adapter.assert_valid_snapshot_target_given_strategy(existing, names, strategy) %}
        {% set source_columns = get_columns_in_query(sql) %}
        {% set there = adapter.get_columns_in_relation(existing) | map(attribute='name') | list %}
        {% set changes = make_temp_relation(target) %}
        {% call statement('changes') %}
            create temporary table {{ changes }} as (
                {{ tidemill_snapshot_changes(target, strategy, names, source_columns, there) }}
            )
        {% endcall %}
        {% do adapter.expand_target_column_types(from_relation=changes, to_relation=target) %}
        {% for column in adapter.get_columns_in_relation(changes) %}
            {% if column.name in source_columns and column.name not in there %}
                {% call statement('column') %}alter table {{ target }} add column {{ adapter.quote(column.name) }} {{ column.data_type }}{% endcall %}
            {% endif %}
        {% endfor %}
        {% set added = [names.dbt_scd_id, names.dbt_updated_at, names.dbt_valid_from, names.dbt_valid_to] %}
        {% if strategy.hard_deletes == 'new_record' %}{% do added.append(names.dbt_is_deleted) %}{% endif %}
        {% set columns = get_quoted_csv(source_columns) ~ ', ' ~ (added | join(', ')) %}
        {% set current = config.get('dbt_valid_to_current') %}
        {% call statement('ends') %}
            update {{ target }} as held set {{ names.dbt_valid_to }} = changes.{{ names.dbt_valid_to }}
            from {{ changes }} as changes
            where changes.{{ names.dbt_scd_id }}::text = held.{{ names.dbt_scd_id }}::text
                and changes.dbt_change_type in ('update', 'delete')
                and (held.{{ names.dbt_valid_to }} is null{% if current %} or held.{{ names.dbt_valid_to }} = {{ current }}{% endif %})
        {% endcall %}
        {% call statement('main') %}
            insert into {{ target }} ({{ columns }})
            select {{ columns }} from {{ changes }} where dbt_change_type = 'insert'
        {% endcall %}
        {% do adapter.drop_relation(changes.incorporate(type='table')) %}
    {% endif %}
    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=false)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
