//! The names that every template of YAML sees: `env_var`, `var`, `target` and a few constants.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidemill_jinja::{Error, Host, State, Value};

use crate::environment::{Environment, SECRET_PREFIX};
use crate::suggest::{alike, nearest};
use crate::yaml::render::has_jinja;

/// The version of dbt whose language is spoken and whose artifacts are written.
pub const DBT_VERSION: &str = "1.12.6";

/// The vars that a template sees: the first layer that has a name gives its value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vars {
    layers: Vec<Arc<Map<String, Json>>>,
}

impl Vars {
    pub(crate) fn new(layers: Vec<Arc<Map<String, Json>>>) -> Self {
        Vars { layers }
    }

    /// `--vars`, the root project's vars for the package, its global ones, the package's own.
    pub(crate) fn for_package(
        package: &str,
        cli: &Arc<Map<String, Json>>,
        root: &Arc<Map<String, Json>>,
        own: Option<&Arc<Map<String, Json>>>,
    ) -> Self {
        let mut layers = vec![cli.clone()];
        for vars in [Some(root), own].into_iter().flatten() {
            if let Some(Json::Object(scoped)) = vars.get(package) {
                layers.push(Arc::new(scoped.clone()));
            }
            layers.push(vars.clone());
        }
        Vars { layers }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flat_map(|layer| layer.keys().map(String::as_str))
    }
}

/// The value of an environment variable for a template, or the error that dbt gives.
pub(crate) fn env_value(
    environment: &Environment,
    name: &str,
    default: Option<&Value>,
    secrets: bool,
) -> Result<Value, Error> {
    if name.starts_with(SECRET_PREFIX) && !secrets {
        return Err(Error::user(format!(
            "secret environment variables (`{SECRET_PREFIX}*`) are allowed only in profiles.yml, \
             packages.yml and connections.yml, so `{name}` cannot be read here"
        )));
    }
    match (environment.get(name), default) {
        (Some(value), _) => Ok(Value::from(value)),
        (None, Some(default)) if !default.is_none() => Ok(default.clone()),
        _ => {
            let error =
                Error::user(format!("the environment variable `{name}` is required, but not set"));
            Err(match alike(name, environment.names()) {
                Some(known) => error.with_hint(format!("did you mean `{known}`?")),
                None => error
                    .with_hint(format!("set it, or give a default: `env_var('{name}', 'value')`")),
            })
        }
    }
}

/// The value of a var, rendered, or the error that dbt gives. `user` names who asks.
pub(crate) fn var_value(
    vars: &Vars,
    name: &str,
    default: Option<&Value>,
    user: &str,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    match vars.get(name) {
        Some(Json::String(text)) if has_jinja(text) => {
            let template = tidemill_jinja::Template::from_text("var", text)?;
            Ok(Value::from(template.render_in(state)?))
        }
        Some(value) => Ok(Value::from(value)),
        None => match default {
            Some(default) => Ok(default.clone()),
            None => {
                let error =
                    Error::user(format!("the var `{name}` is required{user}, but not defined"));
                Err(match nearest(name, vars.names()) {
                    Some(known) => error.with_hint(format!("did you mean `{known}`?")),
                    None => error.with_hint(format!(
                        "define it under `vars:` in dbt_project.yml, with `--vars '{{{name}: value}}'`, \
                         or give a default: `var('{name}', 'value')`"
                    )),
                })
            }
        },
    }
}

/// A host for values of YAML files.
#[derive(Clone)]
pub(crate) struct YamlHost {
    inner: Arc<Inner>,
}

struct Inner {
    environment: Environment,
    vars: Vars,
    secrets: bool,
    target: Option<Value>,
    project_name: Option<String>,
}

impl YamlHost {
    pub(crate) fn new(environment: &Environment, vars: Vars) -> Self {
        YamlHost {
            inner: Arc::new(Inner {
                environment: environment.clone(),
                vars,
                secrets: false,
                target: None,
                project_name: None,
            }),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            environment: self.inner.environment.clone(),
            vars: self.inner.vars.clone(),
            secrets: self.inner.secrets,
            target: self.inner.target.clone(),
            project_name: self.inner.project_name.clone(),
        };
        change(&mut inner);
        YamlHost { inner: Arc::new(inner) }
    }

    /// May read secrets.
    pub(crate) fn with_secrets(&self) -> Self {
        self.with(|inner| inner.secrets = true)
    }

    /// Knows the target.
    pub(crate) fn with_target(&self, target: Value) -> Self {
        self.with(|inner| inner.target = Some(target))
    }

    /// Knows the project's name.
    pub(crate) fn with_project_name(&self, name: &str) -> Self {
        self.with(|inner| inner.project_name = Some(name.to_owned()))
    }
}

impl Host for YamlHost {
    fn lookup(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        let inner = self.inner.clone();
        match name {
            "env_var" => Some(Value::function("env_var", move |args, _| {
                let [name, default] = args.bind("env_var", ["var", "default"], 1)?;
                let name = text_argument("env_var", name.as_ref())?;
                env_value(&inner.environment, &name, default.as_ref(), inner.secrets)
            })),
            "var" => Some(Value::function("var", move |args, state| {
                let [name, default] = args.bind("var", ["var", "default"], 1)?;
                let name = text_argument("var", name.as_ref())?;
                var_value(&inner.vars, &name, default.as_ref(), "", state)
            })),
            "target" => inner.target.clone(),
            "project_name" => inner.project_name.clone().map(Value::from),
            "dbt_version" => Some(Value::from(DBT_VERSION)),
            _ => None,
        }
    }
}

/// A text argument, or Python's error.
pub(crate) fn text_argument(function: &str, value: Option<&Value>) -> Result<String, Error> {
    match value {
        Some(Value::Str(text)) => Ok(text.to_string()),
        Some(Value::Undefined(undefined)) => Err(undefined.error()),
        Some(other) => {
            Err(Error::type_error(format!("{function}() needs text, not {}", other.type_name())))
        }
        None => Err(Error::type_error(format!("{function}() needs an argument"))),
    }
}
