//! `adapter`: dispatch, quoting, and questions to the lake.

use std::sync::Arc;

use tidemill_core::{RelationName, SqlDialect};
use tidemill_jinja::{Args, Error, Object, State, Value};

use super::context::{Context, note_macro};
use super::functions::{carried, execute, relation_type};
use super::relation::{ColumnObject, Relation, quoted};
use super::table::{pairs_of, sql_type};
use super::warehouse::{CatalogColumn, Executed, RelationType};
use crate::base::text_argument;
use crate::world::adapter_type;

/// The `adapter` of a template.
pub(super) struct Adapter(pub(super) Arc<Context>);

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Adapter")
    }
}

const METHODS: &[&str] = &[
    "type",
    "dispatch",
    "quote",
    "quote_as_configured",
    "quote_seed_column",
    "execute",
    "get_relation",
    "load_relation",
    "get_columns_in_relation",
    "get_columns_in_table",
    "get_column_schema_from_query",
    "get_missing_columns",
    "list_relations",
    "list_relations_without_caching",
    "check_schema_exists",
    "list_schemas",
    "already_exists",
    "commit",
    "create_schema",
    "drop_schema",
    "drop_relation",
    "rename_relation",
    "truncate_relation",
    "add_query",
    "cache_added",
    "cache_dropped",
    "cache_renamed",
    "expand_target_column_types",
    "valid_snapshot_target",
    "assert_valid_snapshot_target_given_strategy",
    "verify_database",
    "standardize_grants_dict",
    "convert_type",
    "parse_index",
    "get_hard_deletes_behavior",
    "get_incremental_strategy_macro",
    "render_raw_columns_constraints",
    "render_raw_model_constraints",
    "run_sql_for_tests",
    // Ours, for materializations in a database.
    "check_candidate",
    "seed_columns",
    "load_seed",
];

impl Object for Adapter {
    fn type_name(&self) -> &str {
        "Adapter"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match name {
            "Relation" | "Column" => None,
            // Every behaviour flag is off.
            "behavior" => Some(Value::object(Behavior(self.0.clone(), None))),
            _ => None,
        }
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        METHODS.contains(&name).then(|| self.method(name, args, state))
    }

    fn methods(&self) -> &'static [&'static str] {
        METHODS
    }
}

impl Adapter {
    fn method(&self, name: &str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        if self.0.world.in_database()
            && let Some(outcome) = self.in_database(name, args)
        {
            return outcome;
        }
        match name {
            "type" => Ok(Value::from(adapter_type(&self.0.world.target))),
            "dispatch" => self.dispatch(args, state),
            "quote" => {
                let name = args.get(0, "identifier").map(Value::to_string).unwrap_or_default();
                Ok(Value::from(match self.0.dialect().map(SqlDialect::quote) {
                    Some('`') => format!("`{name}`"),
                    _ => quoted(&name),
                }))
            }
            "quote_seed_column" => quote_seed_column(args),
            "quote_as_configured" => self.quote_as_configured(args),
            "execute" | "run_sql_for_tests" => self.execute(args),
            "get_relation" | "load_relation" => self.get_relation(args),
            "get_columns_in_relation" => self.columns(args.get(0, "relation")),
            "get_columns_in_table" => {
                let name = RelationName::new(
                    args.get(0, "schema_name").map(Value::to_string).unwrap_or_default(),
                    args.get(1, "table_name").map(Value::to_string).unwrap_or_default(),
                );
                self.columns_of(&name)
            }
            "get_column_schema_from_query" => self.query_columns(args),
            "get_missing_columns" => self.missing_columns(args),
            "list_relations" => {
                self.relations(&args.get(1, "schema").map(Value::to_string).unwrap_or_default())
            }
            "list_relations_without_caching" => {
                let schema = match args.get(0, "schema_relation") {
                    Some(value) => match value.downcast::<Relation>() {
                        Some(relation) => relation.schema.clone().unwrap_or_default(),
                        None => value.to_string(),
                    },
                    None => String::new(),
                };
                self.relations(&schema)
            }
            "check_schema_exists" => {
                let schema = args.get(1, "schema").map(Value::to_string).unwrap_or_default();
                let found = self.relations(&schema)?;
                Ok(Value::from(!found.is_empty()))
            }
            "already_exists" => {
                let name = RelationName::new(
                    args.get(0, "schema").map(Value::to_string).unwrap_or_default(),
                    args.get(1, "name").map(Value::to_string).unwrap_or_default(),
                );
                let Some(run) = self.0.run() else { return Ok(Value::from(false)) };
                Ok(Value::from(relation_type(&self.0, run, &name, true)?.is_some()))
            }
            "list_schemas" => {
                let Some(run) = self.0.run() else { return Ok(Value::list([])) };
                let schemas = run.state.warehouse.schemas().map_err(carried)?;
                Ok(Value::list(schemas.iter().map(|schema| Value::from(schema.as_str()))))
            }
            "standardize_grants_dict" => Ok(grants(args.get(0, "grants_table"))),
            "render_raw_columns_constraints" => super::constraints::of_columns(args),
            "render_raw_model_constraints" => super::constraints::of_model(args),
            "get_hard_deletes_behavior" => hard_deletes(args, state),
            "convert_type" => {
                let [table, index] = args.bind("convert_type", ["agate_table", "col_idx"], 2)?;
                let index = index.as_ref().and_then(Value::as_i64).unwrap_or(-1);
                table
                    .as_ref()
                    .and_then(|table| sql_type(table, usize::try_from(index).ok()?))
                    .map(Value::from)
                    .ok_or_else(|| {
                        Error::type_error(
                            "adapter.convert_type needs a table and the number of a column of it",
                        )
                    })
            }
            "parse_index" => super::index::parse(args),
            "valid_snapshot_target" => self.snapshot_target(args, false),
            "assert_valid_snapshot_target_given_strategy" => self.snapshot_target(args, true),
            "verify_database" => self.verify_database(args),
            "get_incremental_strategy_macro" => {
                let strategy = args.get(1, "strategy").map(Value::to_string).unwrap_or_default();
                let name = format!("get_incremental_{}_sql", strategy.replace('+', "_"));
                let found =
                    self.0.world.macros.by_name(&name, &self.0.subject.package, state.package());
                found.map(Value::Macro).ok_or_else(|| {
                    Error::user(format!("there is no incremental strategy `{strategy}`"))
                        .with_hint(format!("a strategy of your own is a macro `{name}`"))
                })
            }
            "add_query" => self.add_query(args),
            "create_schema" => Ok(Value::from("")),
            "drop_schema" => {
                let relation = relation_argument("drop_schema", args.get(0, "relation"))?;
                let schema = relation.schema.clone().unwrap_or_default();
                self.run_all(&format!("drop schema if exists {} cascade", quoted(&schema)))
            }
            "drop_relation" => {
                let relation = relation_argument("drop_relation", args.get(0, "relation"))?;
                match self.known_kind(&relation)? {
                    Some(kind) => self.run_all(&format!("drop {kind} {}", plain(&relation))),
                    None => Ok(Value::from("")),
                }
            }
            "truncate_relation" => {
                let relation = relation_argument("truncate_relation", args.get(0, "relation"))?;
                self.run_all(&format!("truncate table {}", plain(&relation)))
            }
            "rename_relation" => {
                let from = relation_argument("rename_relation", args.get(0, "from_relation"))?;
                let to = relation_argument("rename_relation", args.get(1, "to_relation"))?;
                self.run_all(&format!("alter table {} rename to {}", plain(&from), plain(&to)))
            }
            "nice_connection_name" => Ok(Value::from("master")),
            // Nothing to be done: schemas come with their tables, and there is no cache.
            _ => Ok(Value::from("")),
        }
    }

    /// Quotes a name where `quoting:` of the project says so for names of this kind.
    fn quote_as_configured(&self, args: &Args) -> Result<Value, Error> {
        let [name, key] = args.bind("quote_as_configured", ["identifier", "quote_key"], 2)?;
        let [name, key] = [name, key].map(|value| value.unwrap_or(Value::None).to_string());
        if !matches!(key.as_str(), "database" | "schema" | "identifier") {
            return Ok(Value::from(name));
        }
        let configured = self.0.world.settings.quoting.get(&key);
        Ok(Value::from(match configured.and_then(serde_json::Value::as_bool) {
            Some(false) => name,
            _ => quoted(&name),
        }))
    }

    /// Refuses a table that lacks the columns of a snapshot.
    fn snapshot_target(&self, args: &Args, with_strategy: bool) -> Result<Value, Error> {
        if self.0.run().is_none() {
            return Ok(Value::None);
        }
        let relation = relation_argument("valid_snapshot_target", args.get(0, "relation"))?;
        let names = args.get(1, "column_names");
        let known: Vec<String> = self
            .columns(Some(&relation.value()))?
            .items()?
            .iter()
            .filter_map(|column| Some(column.downcast::<ColumnObject>()?.name().to_lowercase()))
            .collect();
        let mut wanted = vec!["dbt_scd_id", "dbt_valid_from", "dbt_valid_to"];
        let strategy = args.get(2, "strategy").filter(|_| with_strategy);
        let hard_deletes =
            strategy.and_then(Value::as_dict).and_then(|strategy| strategy.get_str("hard_deletes"));
        if hard_deletes.is_some_and(|value| value.as_str() == Some("new_record")) {
            wanted.push("dbt_is_deleted");
        }
        let missing: Vec<String> = wanted
            .into_iter()
            .map(|name| {
                let own = names.and_then(Value::as_dict).and_then(|names| names.get_str(name));
                own.map_or_else(|| name.to_owned(), |own| own.to_string())
            })
            .filter(|name| !name.is_empty() && !known.contains(&name.to_lowercase()))
            .collect();
        if missing.is_empty() {
            return Ok(Value::None);
        }
        Err(Error::user(format!(
            "the table is not a snapshot: it lacks {}",
            missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )))
    }

    fn verify_database(&self, args: &Args) -> Result<Value, Error> {
        let name = args.get(0, "database").map(Value::to_string).unwrap_or_default();
        let expected = &self.0.world.target.database;
        match name.trim_matches('"').eq_ignore_ascii_case(expected) {
            true => Ok(Value::from("")),
            false => Err(Error::user(format!(
                "the database `{name}` cannot be reached from here: this target is `{expected}`"
            ))),
        }
    }

    fn dispatch(&self, args: &Args, state: &State<'_>) -> Result<Value, Error> {
        let [name, namespace, packages] =
            args.bind("dispatch", ["macro_name", "macro_namespace", "packages"], 1)?;
        let name = text_argument("dispatch", name.as_ref())?;
        if packages.is_some_and(|packages| !packages.is_none()) {
            return Err(Error::user("the argument `packages` of adapter.dispatch is gone")
                .with_hint("use `macro_namespace` with `dispatch:` in dbt_project.yml"));
        }
        if let Some((namespace, name)) = name.split_once('.') {
            return Err(Error::user(format!(
                "adapter.dispatch needs the name of a macro, not `{namespace}.{name}`"
            ))
            .with_hint(format!("write `adapter.dispatch('{name}', '{namespace}')`")));
        }
        let namespace = match namespace {
            Some(Value::Str(text)) => Some(text.to_string()),
            Some(Value::None) | None => None,
            Some(other) => {
                return Err(Error::type_error(format!(
                    "the namespace of adapter.dispatch must be text, not {}",
                    other.type_name()
                )));
            }
        };
        let found = self.0.world.macros.dispatch(
            &name,
            namespace.as_deref(),
            &self.0.subject.package,
            state.package(),
        );
        match found {
            Ok(found) => {
                note_macro(&self.0, &found);
                Ok(Value::Macro(found))
            }
            Err(tried) => Err(Error::user(format!(
                "there is no macro `{name}` for this adapter{}",
                namespace.map(|name| format!(" in `{name}`")).unwrap_or_default()
            ))
            .with_hint(format!("looked for: {}", tried.join(", ")))),
        }
    }

    fn execute(&self, args: &Args) -> Result<Value, Error> {
        let [sql, auto_begin, fetch, _] =
            args.bind("execute", ["sql", "auto_begin", "fetch", "limit"], 1)?;
        let fetches = fetch.is_some_and(|fetch| fetch.is_true());
        let sql = text_argument("execute", sql.as_ref())?;
        let Some(run) = self.0.run() else {
            return Ok(Value::tuple([Value::None, Value::None]));
        };
        let sql = sql.trim();
        if sql.is_empty() {
            return Ok(Value::tuple([response_of(&Executed::default()), Value::None]));
        }
        if auto_begin.is_some_and(|auto_begin| auto_begin.is_true()) {
            self.begin(run)?;
        }
        let (executed, table) = execute(&self.0, run, sql)?;
        let value = match executed.is_write() && !fetches {
            true => Value::None,
            false => table.value(),
        };
        Ok(Value::tuple([response_of(&executed), value]))
    }

    /// `add_query(sql)`: the connection and the cursor, of which only the latter says something.
    fn add_query(&self, args: &Args) -> Result<Value, Error> {
        let sql = text_argument("add_query", args.get(0, "sql"))?;
        self.run_all(&sql)?;
        Ok(Value::tuple([Value::None, Value::None]))
    }

    /// Runs statements for what they do.
    fn run_all(&self, sql: &str) -> Result<Value, Error> {
        if let Some(run) = self.0.run() {
            execute(&self.0, run, sql)?;
        }
        Ok(Value::from(""))
    }

    /// The kind of a relation that is there.
    fn known_kind(&self, relation: &Relation) -> Result<Option<&'static str>, Error> {
        let (Some(run), Some(name)) = (self.0.run(), relation.name()) else { return Ok(None) };
        Ok(relation_type(&self.0, run, &name, true)?.map(RelationType::as_str))
    }

    fn get_relation(&self, args: &Args) -> Result<Value, Error> {
        let Some(run) = self.0.run() else { return Ok(Value::None) };
        let relation = match args.get(0, "database").and_then(|value| value.downcast::<Relation>())
        {
            Some(relation) => relation.name(),
            None => {
                let text = |index: usize, key: &str| {
                    args.get(index, key).filter(|value| !value.is_none()).map(Value::to_string)
                };
                match (text(1, "schema"), text(2, "identifier")) {
                    (Some(schema), Some(identifier)) => Some(RelationName::new(schema, identifier)),
                    _ => None,
                }
            }
        };
        let Some(name) = relation else { return Ok(Value::None) };
        Ok(match relation_type(&self.0, run, &name, true)? {
            Some(kind) => {
                let world = &self.0.world;
                Relation::of_name(world.style(), &world.target.database, &name, kind).value()
            }
            None => Value::None,
        })
    }

    fn columns(&self, relation: Option<&Value>) -> Result<Value, Error> {
        let Some(value) = relation else { return Ok(Value::list([])) };
        match value.downcast::<Relation>() {
            Some(relation) => match relation.name() {
                Some(name) => self.columns_of(&name),
                // A temporary one of a database.
                None if relation.in_database && !relation.is_cte => {
                    self.columns_of(&super::database::name_in(relation))
                }
                // A temporary one that has no schema is found by its name alone.
                None if !relation.in_database && !relation.is_cte && self.0.run().is_some() => {
                    let found = self.describe(&format!("select * from {value} limit 0"));
                    found.or_else(|_| Ok(Value::list([])))
                }
                None => Ok(Value::list([])),
            },
            // A filtered relation, `(select * from x where y) dbt_subquery`: ask the query.
            None if self.0.run().is_some() => {
                let text = value.to_string();
                self.describe(&format!("select * from {text} limit 0"))
            }
            None => Ok(Value::list([])),
        }
    }

    fn columns_of(&self, name: &RelationName) -> Result<Value, Error> {
        let Some(run) = self.0.run() else { return Ok(Value::list([])) };
        let found = run.state.warehouse.columns(name).map_err(carried)?;
        self.0.record().reads.columns.insert(name.to_string(), found.clone());
        Ok(self.listed(&found.unwrap_or_default()))
    }

    fn describe(&self, sql: &str) -> Result<Value, Error> {
        let Some(run) = self.0.run() else { return Ok(Value::list([])) };
        let sql = &super::relation::with_aliases(sql);
        let warehouse = &*run.state.warehouse;
        let adapted = self.0.world.adapted(sql, warehouse);
        let table = adapted.and_then(|sql| warehouse.query(&sql)).map_err(carried)?;
        let text = serde_json::to_string(&table.columns).unwrap_or_default();
        self.0.record().reads.queries.push(super::reads::QueryRead {
            sql: sql.to_string(),
            result: blake3::hash(text.as_bytes()).to_hex().to_string(),
        });
        Ok(self.listed(&table.columns))
    }

    fn listed(&self, columns: &[CatalogColumn]) -> Value {
        let of = match self.0.world.target.is_for_duckdb() {
            true => ColumnObject::of_duckdb,
            false => ColumnObject::of,
        };
        Value::list(columns.iter().map(|column| of(column).value()))
    }

    fn query_columns(&self, args: &Args) -> Result<Value, Error> {
        let sql = text_argument("get_column_schema_from_query", args.get(0, "sql"))?;
        self.describe(&format!("select * from ({sql}) as dbt_sbq limit 0"))
    }

    fn missing_columns(&self, args: &Args) -> Result<Value, Error> {
        let from = self.columns(args.get(0, "from_relation"))?.items()?;
        let to = self.columns(args.get(1, "to_relation"))?.items()?;
        let name = |value: &Value| match value.downcast::<ColumnObject>() {
            Some(column) => column.name().to_owned(),
            None => String::new(),
        };
        let known: Vec<String> = to.iter().map(name).collect();
        Ok(Value::list(from.into_iter().filter(|column| !known.contains(&name(column)))))
    }

    fn relations(&self, schema: &str) -> Result<Value, Error> {
        let Some(run) = self.0.run() else { return Ok(Value::list([])) };
        let found = run.state.warehouse.relations(schema).map_err(carried)?;
        let text = serde_json::to_string(&found).unwrap_or_default();
        self.0
            .record()
            .reads
            .schemas
            .insert(schema.to_owned(), blake3::hash(text.as_bytes()).to_hex().to_string());
        let (style, database) = (self.0.world.style(), &self.0.world.target.database);
        Ok(Value::list(
            found
                .iter()
                .map(|(name, kind)| Relation::of_name(style, database, name, *kind).value()),
        ))
    }
}

/// What a statement came to: dbt's `AdapterResponse`, which is its message when it is written.
pub(super) fn response(message: Value, code: Value, rows_affected: Value) -> Value {
    Value::object(Response { message, code, rows_affected })
}

fn response_of(executed: &Executed) -> Value {
    let message = match executed.rows_affected {
        Some(rows) => format!("{} {rows}", executed.code),
        None => executed.code.clone(),
    };
    let rows = executed.rows_affected.and_then(|rows| i64::try_from(rows).ok());
    response(Value::from(message), Value::from(executed.code.as_str()), rows.into())
}

#[derive(Debug)]
struct Response {
    message: Value,
    code: Value,
    rows_affected: Value,
}

impl Response {
    fn dict(&self) -> Value {
        Value::dict([
            ("_message", self.message.clone()),
            ("code", self.code.clone()),
            ("rows_affected", self.rows_affected.clone()),
        ])
    }
}

impl Object for Response {
    fn type_name(&self) -> &str {
        "AdapterResponse"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.dict().as_dict()?.get_str(name)
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.dict().as_dict()?.get_str(key.as_str()?)
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "to_dict" => Some(Ok(self.dict())),
            "get" | "items" | "keys" | "values" => Some(self.dict().call_method(name, args, state)),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["to_dict", "get", "items", "keys", "values"]
    }

    fn render(&self) -> String {
        self.message.to_string()
    }

    fn to_json(&self) -> Option<Value> {
        Some(self.dict())
    }
}

/// Quotes a seed's column unless `quote_columns` says no.
fn quote_seed_column(args: &Args) -> Result<Value, Error> {
    let [column, quote] = args.bind("quote_seed_column", ["column", "quote_config"], 1)?;
    let column = column.unwrap_or(Value::None).to_string();
    match quote {
        None | Some(Value::None | Value::Bool(true)) => Ok(Value::from(quoted(&column))),
        Some(Value::Bool(false)) => Ok(Value::from(column)),
        Some(other) => Err(Error::type_error(format!(
            "`quote_columns` must be true or false, not {}",
            other.repr()
        ))),
    }
}

/// What a snapshot's configuration says about rows that are gone, in its new or its old word.
fn hard_deletes(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [config] = args.bind("get_hard_deletes_behavior", ["config"], 1)?;
    let config = config.unwrap_or(Value::None);
    let mut get = |key: &str| {
        config
            .call_method("get", &Args::new(vec![Value::from(key), Value::None], []), state)
            .map(|value| Some(value).filter(|value| !value.is_none()))
    };
    let (old, new) = (get("invalidate_hard_deletes")?, get("hard_deletes")?);
    if old.is_some() && new.is_some() {
        return Err(Error::user(
            "`hard_deletes` and `invalidate_hard_deletes` cannot be set together",
        )
        .with_hint("keep `hard_deletes`"));
    }
    if old.is_some_and(|old| old.is_true()) {
        return Ok(Value::from("invalidate"));
    }
    match new.as_ref().map_or("ignore", |new| new.as_str().unwrap_or_default()) {
        known @ ("ignore" | "invalidate" | "new_record") => Ok(Value::from(known)),
        _ => {
            Err(Error::user(format!("`hard_deletes: {}` is not known", new.unwrap_or(Value::None)))
                .with_hint("use `ignore`, `invalidate` or `new_record`"))
        }
    }
}

/// A table of `grantee` and `privilege_type` as privilege → names.
fn grants(table: Option<&Value>) -> Value {
    let mut grants: indexmap::IndexMap<String, Vec<Value>> = indexmap::IndexMap::new();
    let pairs = table.map(|table| pairs_of(table, ["grantee", "privilege_type"]));
    for [grantee, privilege] in pairs.unwrap_or_default() {
        grants.entry(privilege).or_default().push(Value::from(grantee));
    }
    Value::dict(grants.iter().map(|(name, names)| (name.as_str(), Value::list(names.clone()))))
}

pub(super) fn relation_argument(method: &str, value: Option<&Value>) -> Result<Relation, Error> {
    value
        .and_then(|value| value.downcast::<Relation>())
        .map(|relation| (*relation).clone())
        .ok_or_else(|| Error::type_error(format!("adapter.{method} needs a relation")))
}

/// Schema and name in quotes, whatever the relation is told to show of itself.
pub(super) fn plain(relation: &Relation) -> String {
    let name = quoted(relation.identifier.as_deref().unwrap_or_default());
    match &relation.schema {
        Some(schema) => format!("{}.{name}", quoted(schema)),
        None => name,
    }
}

/// `adapter.behavior`, and a flag of it.
struct Behavior(Arc<Context>, Option<String>);

impl std::fmt::Debug for Behavior {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Behavior")
    }
}

impl Behavior {
    fn is_set(&self) -> bool {
        let flag = self.1.as_deref().and_then(|name| self.0.flag(name));
        flag.is_some_and(|value| value == serde_json::Value::Bool(true))
    }
}

impl Object for Behavior {
    fn type_name(&self) -> &str {
        "Behavior"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        Some(match name {
            "no_warn" | "setting" => Value::from(self.is_set()),
            _ => Value::object(Behavior(self.0.clone(), Some(name.to_owned()))),
        })
    }

    fn is_true(&self) -> bool {
        self.is_set()
    }
}
