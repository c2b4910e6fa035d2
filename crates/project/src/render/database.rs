//! `adapter` where models run in a database: its methods act on the database, as those of
//! dbt-postgres do.

use tidemill_core::RelationName;
use tidemill_jinja::{Args, Error, Value};

use super::adapter::{Adapter, plain, relation_argument};
use super::context::Run;
use super::functions::{carried, execute, relation_type};
use super::relation::{Relation, quoted};
use super::warehouse::{CatalogColumn, RelationType};

/// Strategies that dbt-postgres has; others have to be macros of the project.
const FOREIGN_STRATEGIES: &[&str] = &["insert_overwrite"];

impl Adapter {
    /// A method that means something else in a database than on the lake; `None` for all others.
    pub(super) fn in_database(&self, name: &str, args: &Args) -> Option<Result<Value, Error>> {
        let done = |outcome: Result<(), Error>| Some(outcome.map(|()| Value::from("")));
        let run = self.0.run()?;
        Some(match name {
            "commit" => return done(self.sink(run, |sink| sink.commit())),
            "check_candidate" => {
                let candidate = match relation_argument("check_candidate", args.get(0, "relation"))
                {
                    Ok(relation) => relation.name(),
                    Err(error) => return Some(Err(error)),
                };
                let Some(candidate) = candidate else { return done(Ok(())) };
                return done(self.sink(run, |sink| sink.candidate(&candidate)));
            }
            "seed_columns" => self.seed_columns(run),
            "load_seed" => self.load_seed(run, args),
            "create_schema" => self.schema_statement(run, args, "create schema if not exists", ""),
            "drop_schema" => self.schema_statement(run, args, "drop schema if exists", " cascade"),
            "drop_relation" => self.drop(run, args),
            "rename_relation" => self.rename(run, args),
            "check_schema_exists" => {
                let schema = args.get(1, "schema").map(Value::to_string).unwrap_or_default();
                run.state
                    .warehouse
                    .schemas()
                    .map(|schemas| Value::from(schemas.contains(&schema)))
                    .map_err(carried)
            }
            "expand_target_column_types" => self.expand(run, args),
            "get_incremental_strategy_macro" => {
                let strategy = args.get(1, "strategy").map(Value::to_string).unwrap_or_default();
                if !FOREIGN_STRATEGIES.contains(&strategy.as_str()) {
                    return None;
                }
                Err(Error::user(format!(
                    "the incremental strategy `{strategy}` is not one of PostgreSQL's"
                ))
                .with_hint("use append, delete+insert, merge or microbatch"))
            }
            _ => return None,
        })
    }

    fn sink(
        &self,
        run: &Run,
        act: impl FnOnce(&dyn super::Sink) -> tidemill_core::Result<()>,
    ) -> Result<(), Error> {
        match run.state.warehouse.sink() {
            Some(sink) => act(sink).map_err(carried),
            None => Ok(()),
        }
    }

    /// Begins the transaction of a materialization, if none is open.
    pub(super) fn begin(&self, run: &Run) -> Result<(), Error> {
        self.sink(run, |sink| sink.begin())
    }

    fn seed_columns(&self, run: &Run) -> Result<Value, Error> {
        let Some(sink) = run.state.warehouse.sink() else { return Ok(Value::list([])) };
        let columns = sink.seed_columns().map_err(carried)?;
        Ok(Value::list(columns.iter().map(|column| {
            Value::dict([
                ("name", Value::from(column.name.as_str())),
                ("data_type", Value::from(column.data_type.as_str())),
            ])
        })))
    }

    fn load_seed(&self, run: &Run, args: &Args) -> Result<Value, Error> {
        let relation = relation_argument("load_seed", args.get(0, "relation"))?;
        let (Some(sink), Some(name)) = (run.state.warehouse.sink(), relation.name()) else {
            return Ok(Value::from(0_i64));
        };
        let rows = sink.load_seed(&name).map_err(carried)?;
        Ok(Value::from(i64::try_from(rows).unwrap_or(i64::MAX)))
    }

    fn statement(&self, run: &Run, sql: &str) -> Result<Value, Error> {
        self.begin(run)?;
        execute(&self.0, run, sql)?;
        Ok(Value::from(""))
    }

    fn schema_statement(
        &self,
        run: &Run,
        args: &Args,
        before: &str,
        after: &str,
    ) -> Result<Value, Error> {
        let relation = relation_argument("create_schema", args.get(0, "relation"))?;
        let schema = relation.schema.clone().unwrap_or_default();
        self.statement(run, &format!("{before} {}{after}", quoted(&schema)))
    }

    /// What a relation is, by its word or by asking.
    fn kind_in(&self, run: &Run, relation: &Relation) -> Result<Option<RelationType>, Error> {
        match (relation.kind, relation.name()) {
            (Some(kind), _) => Ok(Some(kind)),
            (None, Some(name)) => relation_type(&self.0, run, &name, true),
            // A temporary one.
            (None, None) => Ok(Some(RelationType::Table)),
        }
    }

    fn drop(&self, run: &Run, args: &Args) -> Result<Value, Error> {
        let relation = relation_argument("drop_relation", args.get(0, "relation"))?;
        match self.kind_in(run, &relation)? {
            Some(kind) => {
                // In the open transaction, if there is one.
                let sql = format!("drop {} if exists {} cascade", words(kind), plain(&relation));
                execute(&self.0, run, &sql)?;
                Ok(Value::from(""))
            }
            None => Ok(Value::from("")),
        }
    }

    fn rename(&self, run: &Run, args: &Args) -> Result<Value, Error> {
        let from = relation_argument("rename_relation", args.get(0, "from_relation"))?;
        let to = relation_argument("rename_relation", args.get(1, "to_relation"))?;
        let kind = self.kind_in(run, &from)?.unwrap_or(RelationType::Table);
        let name = quoted(to.identifier.as_deref().unwrap_or_default());
        let sql = format!("alter {} {} rename to {name}", words(kind), plain(&from));
        self.statement(run, &sql)
    }

    /// Makes room for longer texts in columns that are limited.
    fn expand(&self, run: &Run, args: &Args) -> Result<Value, Error> {
        let from = relation_argument("expand_target_column_types", args.get(0, "from_relation"))?;
        let to = relation_argument("expand_target_column_types", args.get(1, "to_relation"))?;
        let columns = |relation: &Relation| -> Result<Vec<CatalogColumn>, Error> {
            let name = name_in(relation);
            Ok(run.state.warehouse.columns(&name).map_err(carried)?.unwrap_or_default())
        };
        let wanted = columns(&from)?;
        for column in columns(&to)? {
            let Some(limit) = limit(&column.data_type) else { continue };
            let Some(other) = wanted.iter().find(|wanted| wanted.name == column.name) else {
                continue;
            };
            let longer = match self::limit(&other.data_type) {
                Some(length) => length > limit,
                None => matches!(other.data_type.as_str(), "text" | "character varying"),
            };
            if longer {
                let sql = format!(
                    "alter table {} alter column {} type {}",
                    plain(&to),
                    quoted(&column.name),
                    other.data_type
                );
                self.statement(run, &sql)?;
            }
        }
        Ok(Value::from(""))
    }
}

/// The name of a relation; a temporary one has no schema.
pub(super) fn name_in(relation: &Relation) -> RelationName {
    RelationName::new(
        relation.schema.clone().unwrap_or_default(),
        relation.identifier.clone().unwrap_or_default(),
    )
}

/// SQL's words for a kind.
fn words(kind: RelationType) -> &'static str {
    match kind {
        RelationType::Table => "table",
        RelationType::View => "view",
        RelationType::MaterializedView => "materialized view",
    }
}

/// The longest text of `character varying(n)`.
fn limit(data_type: &str) -> Option<u32> {
    data_type.strip_prefix("character varying(")?.strip_suffix(')')?.parse().ok()
}
