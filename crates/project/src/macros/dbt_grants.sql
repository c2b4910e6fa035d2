{# Privileges of a relation: what is recorded, what is wanted, and the statements between them. #}

{% macro copy_grants() %}{{ return(adapter.dispatch('copy_grants', 'dbt')()) }}{% endmacro %}
{% macro default__copy_grants() %}{{ return(true) }}{% endmacro %}

{% macro support_multiple_grantees_per_dcl_statement() %}
    {{ return(adapter.dispatch('support_multiple_grantees_per_dcl_statement', 'dbt')()) }}
{% endmacro %}
{% macro default__support_multiple_grantees_per_dcl_statement() %}{{ return(true) }}{% endmacro %}

{% macro should_revoke(existing_relation, full_refresh_mode=true) %}
    {% do return(existing_relation is not none and existing_relation is not false and (copy_grants() or not full_refresh_mode)) %}
{% endmacro %}

{% macro get_show_grant_sql(relation) -%}
    {{ return(adapter.dispatch('get_show_grant_sql', 'dbt')(relation)) }}
{%- endmacro %}
{% macro default__get_show_grant_sql(relation) -%}
    select grantee, privilege_type
    from information_schema.role_table_grants
    where table_schema = '{{ relation.schema }}' and table_name = '{{ relation.identifier }}'
{%- endmacro %}

{% macro get_grant_sql(relation, privilege, grantees) -%}
    {{ return(adapter.dispatch('get_grant_sql', 'dbt')(relation, privilege, grantees)) }}
{%- endmacro %}
{% macro default__get_grant_sql(relation, privilege, grantees) -%}
    grant {{ privilege }} on {{ relation.render() }} to {{ _grantees(grantees) }}
{%- endmacro %}

{% macro get_revoke_sql(relation, privilege, grantees) -%}
    {{ return(adapter.dispatch('get_revoke_sql', 'dbt')(relation, privilege, grantees)) }}
{%- endmacro %}
{% macro default__get_revoke_sql(relation, privilege, grantees) -%}
    revoke {{ privilege }} on {{ relation.render() }} from {{ _grantees(grantees) }}
{%- endmacro %}

{% macro _grantees(grantees) %}
    {% set names = [] %}
    {% for name in ([grantees] if grantees is string else grantees) %}{% do names.append(adapter.quote(name)) %}{% endfor %}
    {% do return(names | join(', ')) %}
{% endmacro %}

{% macro get_dcl_statement_list(relation, grant_config, get_dcl_macro) -%}
    {%- set statements = [] -%}
    {%- for privilege, grantees in grant_config.items() -%}
        {%- if grantees is string -%}{%- set grantees = [grantees] -%}{%- endif -%}
        {%- if grantees and support_multiple_grantees_per_dcl_statement() -%}
            {%- do statements.append(get_dcl_macro(relation, privilege, grantees)) -%}
        {%- else -%}
            {%- for name in grantees %}{% do statements.append(get_dcl_macro(relation, privilege, [name])) %}{% endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(statements) }}
{%- endmacro %}

{% macro call_dcl_statements(dcl_statement_list) %}
    {{ return(adapter.dispatch('call_dcl_statements', 'dbt')(dcl_statement_list)) }}
{% endmacro %}
{% macro default__call_dcl_statements(dcl_statement_list) %}
    {% for dcl in dcl_statement_list %}{% do run_query(dcl) %}{% endfor %}
{% endmacro %}

{% macro apply_grants(relation, grant_config, should_revoke=true) %}
    {{ return(adapter.dispatch('apply_grants', 'dbt')(relation, grant_config, should_revoke)) }}
{% endmacro %}
{% macro default__apply_grants(relation, grant_config, should_revoke=true) %}
    {% if not (execute and grant_config) %}{% do return('') %}{% endif %}
    {% if should_revoke %}
        {% set there = adapter.standardize_grants_dict(run_query(get_show_grant_sql(relation))) %}
        {% set more = diff_of_two_dicts(grant_config, there) %}
        {% set less = diff_of_two_dicts(there, grant_config) %}
    {% else %}
        {% set more, less = grant_config, {} %}
    {% endif %}
    {% do call_dcl_statements(get_dcl_statement_list(relation, less, get_revoke_sql) + get_dcl_statement_list(relation, more, get_grant_sql)) %}
{% endmacro %}
