{# What stands below the code of a Python model: the object `dbt` that its function is given. #}

{% macro resolve_model_name(input_model_name) %}
    {{- return(adapter.dispatch('resolve_model_name', 'dbt')(input_model_name)) -}}
{% endmacro %}
{% macro default__resolve_model_name(input_model_name) -%}
    {{ input_model_name | string }}
{%- endmacro %}

{% macro build_ref_function(model) -%}
    {%- set relations = {} -%}
    {%- for call in model.refs -%}
        {%- set names = ([call.package] if call.package else []) + [call.name] -%}
        {%- set key = (names | join('.')) ~ ('.v' ~ call.version if call.version else '') -%}
        {%- do relations.update({key: resolve_model_name(ref(*names, v=call.version))}) -%}
    {%- endfor -%}
def ref(*args, **kwargs):
    relations = {{ relations | tojson }}
    version = kwargs.get("v") or kwargs.get("version")
    key = ".".join(args) + (f".v{version}" if version else "")
    if key not in relations:
        raise KeyError(f"dbt.ref() of {key!r} was not seen when the project was read")
    return kwargs["dbt_load_df_function"](relations[key])
{% endmacro %}

{% macro build_source_function(model) -%}
    {%- set relations = {} -%}
    {%- for names in model.sources -%}
        {%- do relations.update({names | join('.'): resolve_model_name(source(*names))}) -%}
    {%- endfor -%}
def source(*args, dbt_load_df_function):
    relations = {{ relations | tojson }}
    key = ".".join(args)
    if key not in relations:
        raise KeyError(f"dbt.source() of {key!r} was not seen when the project was read")
    return dbt_load_df_function(relations[key])
{% endmacro %}

{% macro build_config_dict(model) -%}
    {%- set settings = {} -%}
    {%- set meta = {} -%}
    {%- for key, default in zip(model.config.get('config_keys_used') or [], model.config.get('config_keys_defaults') or []) -%}
        {%- do settings.update({key: 'python' if key == 'language' else model.config.get(key, default)}) -%}
    {%- endfor -%}
    {%- for key, default in zip(model.config.get('meta_keys_used') or [], model.config.get('meta_keys_defaults') or []) -%}
        {%- do meta.update({key: (model.config.get('meta') or {}).get(key, default)}) -%}
    {%- endfor -%}
config_dict = {{ settings }}
meta_dict = {{ meta }}
{% endmacro %}

{% macro py_script_postfix(model) -%}
# What follows is not the model's own: it makes the object `dbt`.

{{ build_ref_function(model) }}

{{ build_source_function(model) }}

{{ build_config_dict(model) }}

class config:
    def __init__(self, *args, **kwargs):
        pass

    @staticmethod
    def get(key, default=None):
        return config_dict.get(key, default)

    @staticmethod
    def meta_get(key, default=None):
        return meta_dict.get(key, default)


class this:
    """The model's own relation."""
    database = {{ this.database | tojson }}
    schema = {{ this.schema | tojson }}
    identifier = {{ this.identifier | tojson }}

    def __repr__(self):
        return {{ resolve_model_name(this) | tojson }}


class dbtObj:
    def __init__(self, load_df_function):
        self.source = lambda *args: source(*args, dbt_load_df_function=load_df_function)
        self.ref = lambda *args, **kwargs: ref(*args, **kwargs, dbt_load_df_function=load_df_function)
        self.config = config
        self.this = this()
        self.is_incremental = {{ is_incremental() }}

{{ py_script_comment() }}
{% endmacro %}

{% macro py_script_comment() %}{% endmacro %}
