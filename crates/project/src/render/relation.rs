//! dbt's `Relation` and `Column` as templates see them.

use std::sync::Arc;

use tidemill_core::RelationName;
use tidemill_jinja::{Args, Error, Object, State, Value};

use super::warehouse::{CatalogColumn, RelationType};
use crate::world::RelationStyle;

/// A relation of the lake, or a common table expression that stands for one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relation {
    pub(crate) database: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) identifier: Option<String>,
    pub(crate) kind: Option<RelationType>,
    /// An inlined model: rendered as `__dbt__cte__NAME`.
    pub(crate) is_cte: bool,
    /// Which parts are written: database, schema, identifier.
    pub(crate) include: [bool; 3],
    /// Which parts are quoted.
    pub(crate) quote: [bool; 3],
    /// It is one of a database, and not of the lake.
    pub(crate) in_database: bool,
    /// A view of `information_schema`.
    pub(crate) information_schema: Option<String>,
    /// Only this many rows (`--empty`).
    pub(crate) limit: Option<u64>,
    /// Only rows for which this SQL condition holds.
    pub(crate) filter: Option<String>,
    /// Files that are read in place of a relation, as SQL.
    pub(crate) files: Option<String>,
}

/// The database of a lake that stands in for no other system.
const LAKE: &str = "tidemill";

const PARTS: [&str; 3] = ["database", "schema", "identifier"];

/// What a relation has as a mapping.
const FIELDS: [&str; 7] =
    ["path", "type", "quote_character", "include_policy", "quote_policy", "dbt_created", "limit"];

impl Relation {
    pub(crate) fn new(
        style: RelationStyle,
        database: &str,
        schema: &str,
        identifier: &str,
    ) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Relation {
            database: given(database),
            schema: given(schema),
            identifier: given(identifier),
            kind: None,
            is_cte: false,
            // The lake's own name says nothing; that of another system is part of the text that
            // packages make of a relation.
            include: match style.in_database {
                true => style.include,
                false => [!database.is_empty() && database != LAKE, true, true],
            },
            quote: style.quote,
            in_database: style.in_database,
            information_schema: None,
            limit: None,
            filter: None,
            files: None,
        }
    }

    pub(crate) fn cte(style: RelationStyle, database: &str, schema: &str, name: &str) -> Self {
        Relation { is_cte: true, ..Relation::new(style, database, schema, name) }
    }

    pub(crate) fn of_name(
        style: RelationStyle,
        database: &str,
        name: &RelationName,
        kind: RelationType,
    ) -> Self {
        Relation { kind: Some(kind), ..Relation::new(style, database, name.schema(), name.name()) }
    }

    /// Its name in the lake, when it has schema and identifier.
    pub(crate) fn name(&self) -> Option<RelationName> {
        if self.is_cte || self.information_schema.is_some() || self.files.is_some() {
            return None;
        }
        Some(RelationName::new(self.schema.clone()?, self.identifier.clone()?))
    }

    pub(crate) fn value(self) -> Value {
        Value::object(self)
    }

    fn parts(&self) -> [Option<&String>; 3] {
        [self.database.as_ref(), self.schema.as_ref(), self.identifier.as_ref()]
    }

    fn sql(&self) -> String {
        if self.is_cte {
            return format!("__dbt__cte__{}", self.identifier.as_deref().unwrap_or_default());
        }
        let mut text = String::new();
        for (index, part) in self.parts().into_iter().enumerate() {
            let Some(part) = part.filter(|_| self.include[index]) else { continue };
            if !text.is_empty() {
                text.push('.');
            }
            if self.quote[index] {
                text.push_str(&quoted(part));
            } else {
                text.push_str(part);
            }
        }
        if let Some(files) = &self.files {
            text = files.clone();
        }
        if let Some(view) = &self.information_schema {
            text = if view.is_empty() {
                "information_schema".to_owned()
            } else {
                format!("information_schema.{view}")
            };
        }
        let cut = match (self.limit, &self.filter) {
            (Some(limit), _) => format!("(select * from {text} limit {limit})"),
            (None, Some(filter)) => format!("(select * from {text} where {filter})"),
            (None, None) => return text,
        };
        match self.in_database {
            true => format!("{cut}{ALIAS}{}{ALIAS}", self.identifier.as_deref().unwrap_or("cut")),
            false => cut,
        }
    }

    /// `include(database=..., ...)` and `quote(...)`: the flags that are given.
    fn policy(&self, method: &str, args: &Args, current: [bool; 3]) -> Result<[bool; 3], Error> {
        let bound = args.bind(method, PARTS, 0)?;
        let mut flags = current;
        for (flag, value) in flags.iter_mut().zip(bound) {
            if let Some(value) = value.filter(|value| !value.is_none()) {
                *flag = value.is_true();
            }
        }
        Ok(flags)
    }

    fn with_path(&self, path: &Value) -> Self {
        let mut relation = self.clone();
        if let Some(dict) = path.as_dict() {
            for (name, part) in PARTS.iter().zip([
                &mut relation.database,
                &mut relation.schema,
                &mut relation.identifier,
            ]) {
                if let Some(value) = dict.get_str(name) {
                    *part = text_or_none(&value);
                }
            }
        }
        relation
    }

    /// `api.Relation.create(database=, schema=, identifier=, type=, …)`.
    pub(crate) fn create(
        args: &Args,
        style: RelationStyle,
        default_database: &str,
    ) -> Result<Value, Error> {
        let mut relation = Relation::new(style, default_database, "", "");
        let positional = args.positional();
        for (index, name) in PARTS.iter().enumerate() {
            let value = positional.get(index).or_else(|| args.get_keyword(name));
            let Some(value) = value else { continue };
            let text = text_or_none(value);
            match index {
                0 => relation.database = text,
                1 => relation.schema = text,
                _ => relation.identifier = text,
            }
        }
        if let Some(path) = args.get_keyword("path") {
            relation = relation.with_path(path);
        }
        if let Some(kind) = args.get_keyword("type").or_else(|| positional.get(3)) {
            relation.kind = kind.as_str().and_then(RelationType::parse);
            relation.is_cte = kind.as_str() == Some("cte");
        }
        for (key, flags) in
            [("quote_policy", &mut relation.quote), ("include_policy", &mut relation.include)]
        {
            if let Some(dict) = args.get_keyword(key).and_then(Value::as_dict) {
                for (name, flag) in PARTS.iter().zip(flags.iter_mut()) {
                    if let Some(value) = dict.get_str(name) {
                        *flag = value.is_true();
                    }
                }
            }
        }
        Ok(relation.value())
    }

    fn policy_value(flags: [bool; 3]) -> Value {
        Value::dict(PARTS.iter().zip(flags).map(|(name, flag)| (*name, Value::from(flag))))
    }
}

/// What a snapshot's id is made of: its key and the time.
fn scd_args(args: &Args) -> Value {
    let key = args.get(0, "primary_key").cloned().unwrap_or(Value::None);
    let mut parts = key.to_items().unwrap_or_else(|| vec![key]);
    parts.extend(args.get(1, "updated_at").cloned());
    Value::list(parts)
}

/// Stands around the name that a subquery gets where the text gives it none.
const ALIAS: char = '\u{1}';

/// Words that may follow a relation in a query without being its alias.
const AFTER_RELATION: &[&str] = &[
    "cross",
    "except",
    "fetch",
    "for",
    "full",
    "group",
    "having",
    "inner",
    "intersect",
    "join",
    "left",
    "limit",
    "natural",
    "offset",
    "on",
    "order",
    "outer",
    "right",
    "tablesample",
    "union",
    "using",
    "where",
    "window",
];

/// The text with an alias for each relation that is cut to some of its rows, where it has none:
/// PostgreSQL wants one, and a template may have written its own.
pub(crate) fn with_aliases(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(ALIAS) {
        return text.into();
    }
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, marked)) = rest.split_once(ALIAS) {
        done.push_str(before);
        let Some((name, after)) = marked.split_once(ALIAS) else { break };
        let next = after.trim_start();
        let word: String = next.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let named = next.starts_with('"')
            || (!word.is_empty() && !AFTER_RELATION.contains(&word.to_ascii_lowercase().as_str()));
        if !named {
            done.push_str(" as ");
            done.push_str(&quoted(name));
        }
        rest = after;
    }
    done.push_str(rest);
    done.into()
}

/// A name in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text_or_none(value: &Value) -> Option<String> {
    match value {
        Value::None | Value::Undefined(_) => None,
        other => Some(other.to_string()),
    }
}

impl Object for Relation {
    fn type_name(&self) -> &str {
        "Relation"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        let is = |kind: RelationType| Value::from(self.kind == Some(kind));
        Some(match name {
            "database" => self.database.clone().into(),
            "schema" => self.schema.clone().into(),
            "identifier" | "name" | "table" => self.identifier.clone().into(),
            "type" => match (self.is_cte, self.kind) {
                (true, _) => Value::from("cte"),
                (false, kind) => kind.map(RelationType::as_str).into(),
            },
            "is_table" => is(RelationType::Table),
            "is_view" => is(RelationType::View),
            "is_cte" => Value::from(self.is_cte),
            "is_materialized_view" => is(RelationType::MaterializedView),
            "is_function" | "is_pointer" => Value::from(false),
            "can_be_renamed" | "can_be_replaced" => Value::from(true),
            "Table" => Value::from("table"),
            "View" => Value::from("view"),
            "CTE" => Value::from("cte"),
            "External" => Value::from("external"),
            "MaterializedView" => Value::from("materialized_view"),
            "Function" => Value::from("function"),
            "quote_policy" => Self::policy_value(self.quote),
            "include_policy" => Self::policy_value(self.include),
            "quote_character" => Value::from("\""),
            // Packages tell a relation from a text by this.
            "metadata" => {
                let name = if self.in_database { "PostgresRelation" } else { "TidemillRelation" };
                Value::dict([("type", Value::from(name))])
            }
            "dbt_created" => Value::from(false),
            "limit" => self.limit.into(),
            "path" => Value::dict(
                PARTS.iter().zip(self.parts()).map(|(name, part)| (*name, part.cloned().into())),
            ),
            _ => return None,
        })
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        Some(match name {
            "include" => self
                .policy("include", args, self.include)
                .map(|include| Relation { include, ..self.clone() }.value()),
            "quote" => self
                .policy("quote", args, self.quote)
                .map(|quote| Relation { quote, ..self.clone() }.value()),
            "incorporate" => {
                let mut relation = match args.get_keyword("path") {
                    Some(path) => self.with_path(path),
                    None => self.clone(),
                };
                if let Some(kind) = args.get_keyword("type") {
                    relation.kind = kind.as_str().and_then(RelationType::parse);
                }
                for (key, flags) in
                    [("include", &mut relation.include), ("quote_policy", &mut relation.quote)]
                {
                    let Some(dict) = args.get_keyword(key).and_then(Value::as_dict) else {
                        continue;
                    };
                    for (name, flag) in PARTS.iter().zip(flags.iter_mut()) {
                        if let Some(value) = dict.get_str(name) {
                            *flag = value.is_true();
                        }
                    }
                }
                Ok(relation.value())
            }
            "replace_path" => {
                let mut relation = self.clone();
                for (name, value) in args.keyword() {
                    match &**name {
                        "database" => relation.database = text_or_none(value),
                        "schema" => relation.schema = text_or_none(value),
                        "identifier" => relation.identifier = text_or_none(value),
                        _ => {}
                    }
                }
                Ok(relation.value())
            }
            "without_identifier" => {
                Ok(Relation { include: [self.include[0], self.include[1], false], ..self.clone() }
                    .value())
            }
            "information_schema" => {
                let view = args.get(0, "view_name").and_then(text_or_none).unwrap_or_default();
                Ok(Relation { information_schema: Some(view), ..self.clone() }.value())
            }
            "information_schema_only" => {
                Ok(Relation { information_schema: Some(String::new()), ..self.clone() }.value())
            }
            "add_ephemeral_prefix" => Ok(Value::from(format!(
                "__dbt__cte__{}",
                args.get(0, "name").cloned().unwrap_or(Value::None)
            ))),
            "matches" => {
                let wanted = args.bind("matches", PARTS, 0);
                wanted.map(|wanted| {
                    Value::from(wanted.iter().zip(self.parts()).all(|(wanted, part)| {
                        wanted.as_ref().and_then(text_or_none).is_none_or(|wanted| {
                            part.is_some_and(|part| part.eq_ignore_ascii_case(&wanted))
                        })
                    }))
                })
            }
            // Names of PostgreSQL are cut there.
            "relation_max_name_length" => Ok(Value::from(63_i64)),
            // As in dbt, the name alone: what `--empty` and `--sample` leave of it comes with its text.
            "render" => {
                Ok(Value::from(Relation { limit: None, filter: None, ..self.clone() }.sql()))
            }
            "render_limited" | "render_event_time_filtered" => Ok(Value::from(self.sql())),
            "scd_args" => Ok(scd_args(args)),
            // A relation of dbt is a mapping of its fields, too.
            "get" => {
                let key = args.get(0, "key").map(Value::to_string).unwrap_or_default();
                let default = args.get(1, "default").cloned().unwrap_or(Value::None);
                Ok(self.get_attr(&key, state).unwrap_or(default))
            }
            "items" | "keys" | "values" => {
                let fields = FIELDS
                    .iter()
                    .map(|field| (*field, self.get_attr(field, state).unwrap_or(Value::None)));
                Value::dict(fields.collect::<Vec<_>>()).call_method(name, args, state)
            }
            "create" => {
                let style = RelationStyle {
                    include: if self.in_database { [true; 3] } else { RelationStyle::LAKE.include },
                    quote: self.quote,
                    in_database: self.in_database,
                };
                Relation::create(args, style, self.database.as_deref().unwrap_or_default())
            }
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &[
            "include",
            "quote",
            "incorporate",
            "replace_path",
            "without_identifier",
            "information_schema",
            "information_schema_only",
            "add_ephemeral_prefix",
            "matches",
            "relation_max_name_length",
            "render",
            "render_limited",
            "render_event_time_filtered",
            "scd_args",
            "create",
            "get",
            "items",
            "keys",
            "values",
        ]
    }

    fn get_item(&self, key: &Value, state: &State<'_>) -> Option<Value> {
        self.get_attr(key.as_str()?, state)
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some(FIELDS.iter().map(|field| Value::from(*field)).collect())
    }

    fn len(&self) -> Option<usize> {
        Some(FIELDS.len())
    }

    fn is_mapping(&self) -> bool {
        true
    }

    fn render(&self) -> String {
        self.sql()
    }

    fn repr(&self) -> String {
        format!("<Relation {}>", self.sql())
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<Relation>().is_some_and(|other| {
            self.parts() == other.parts() && self.information_schema == other.information_schema
        })
    }

    fn hash_text(&self) -> Option<String> {
        Some(format!("{:?}", self.parts()))
    }

    fn to_json(&self) -> Option<Value> {
        Some(Value::from(self.sql()))
    }
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnObject {
    name: String,
    data_type: String,
}

impl ColumnObject {
    pub(crate) fn new(name: impl Into<String>, data_type: impl Into<String>) -> Self {
        ColumnObject { name: name.into(), data_type: data_type.into() }
    }

    pub(crate) fn of(column: &CatalogColumn) -> Self {
        Self::new(&column.name, &column.data_type)
    }

    /// A column of a lake that stands in for a DuckDB, with its name for the type.
    pub(crate) fn of_duckdb(column: &CatalogColumn) -> Self {
        Self::new(&column.name, duckdb_type(&column.data_type))
    }

    pub(crate) fn value(self) -> Value {
        Value::object(self)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What `dtype` is: DuckDB's names of types are whole.
    fn dtype(&self) -> String {
        match self.data_type.chars().any(char::is_uppercase) {
            true => self.data_type.clone(),
            false => self.base(),
        }
    }

    /// The type without its size: `character varying(10)` → `character varying`.
    fn base(&self) -> String {
        let lower = self.data_type.to_ascii_lowercase();
        lower.split('(').next().unwrap_or_default().trim().to_owned()
    }

    fn sizes(&self) -> Vec<i64> {
        let Some((_, rest)) = self.data_type.split_once('(') else { return Vec::new() };
        let inside = rest.split(')').next().unwrap_or_default();
        inside.split(',').filter_map(|part| part.trim().parse().ok()).collect()
    }

    fn is_string(&self) -> bool {
        matches!(
            self.base().as_str(),
            "text" | "character varying" | "character" | "varchar" | "string" | "char" | "utf8"
        )
    }

    fn is_integer(&self) -> bool {
        matches!(
            self.base().as_str(),
            "smallint"
                | "integer"
                | "bigint"
                | "int"
                | "int2"
                | "int4"
                | "int8"
                | "int16"
                | "int32"
                | "int64"
                | "tinyint"
                | "smallserial"
                | "serial"
                | "bigserial"
                | "serial2"
                | "serial4"
                | "serial8"
        )
    }

    fn is_float(&self) -> bool {
        matches!(
            self.base().as_str(),
            "real"
                | "float4"
                | "float"
                | "double precision"
                | "float8"
                | "double"
                | "float32"
                | "float64"
        )
    }

    fn is_numeric(&self) -> bool {
        matches!(self.base().as_str(), "numeric" | "decimal" | "decimal128")
    }

    /// dbt's words for types, made ours.
    pub(crate) fn translate_type(name: &str) -> String {
        match name.to_ascii_uppercase().as_str() {
            "STRING" => "TEXT".to_owned(),
            _ => name.to_owned(),
        }
    }
}

/// DuckDB's name of a type.
fn duckdb_type(name: &str) -> String {
    if let Some(item) = name.strip_suffix("[]") {
        return format!("{}[]", duckdb_type(item));
    }
    let lower = name.to_ascii_lowercase();
    let (base, size) = match lower.split_once('(') {
        Some((base, size)) => (base.trim(), Some(size)),
        None => (lower.as_str(), None),
    };
    match base {
        "text" | "character varying" | "varchar" | "character" => "VARCHAR".to_owned(),
        "double precision" => "DOUBLE".to_owned(),
        "real" => "FLOAT".to_owned(),
        "bytea" => "BLOB".to_owned(),
        "timestamp without time zone" => "TIMESTAMP".to_owned(),
        "time without time zone" => "TIME".to_owned(),
        "numeric" => match size {
            Some(size) => format!("DECIMAL({size}"),
            None => "DECIMAL(38,10)".to_owned(),
        },
        "bigint"
        | "integer"
        | "smallint"
        | "tinyint"
        | "boolean"
        | "date"
        | "timestamp"
        | "timestamp with time zone"
        | "time"
        | "interval" => base.to_uppercase(),
        _ => name.to_owned(),
    }
}

impl Object for ColumnObject {
    fn type_name(&self) -> &str {
        "Column"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        Some(match name {
            "name" | "column" => Value::from(self.name.as_str()),
            "dtype" => Value::from(self.dtype()),
            "data_type" => Value::from(self.data_type.as_str()),
            "quoted" => Value::from(quoted(&self.name)),
            "char_size" => self.is_string().then(|| self.sizes().first().copied()).flatten().into(),
            "numeric_precision" => {
                self.is_numeric().then(|| self.sizes().first().copied()).flatten().into()
            }
            "numeric_scale" => {
                self.is_numeric().then(|| self.sizes().get(1).copied()).flatten().into()
            }
            _ => return None,
        })
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        Some(Ok(match name {
            "is_string" => Value::from(self.is_string()),
            "is_integer" => Value::from(self.is_integer()),
            "is_float" => Value::from(self.is_float()),
            "is_numeric" => Value::from(self.is_numeric()),
            "is_number" => Value::from(self.is_integer() || self.is_float() || self.is_numeric()),
            "string_size" => {
                if !self.is_string() {
                    return Some(Err(Error::user("string_size() called on non-string field")));
                }
                Value::from(self.sizes().first().copied().unwrap_or(256))
            }
            "string_type" => Value::from("text"),
            "can_expand_to" => Value::from(false),
            "translate_type" => {
                let name = args.get(0, "dtype").map(Value::to_string).unwrap_or_default();
                Value::from(ColumnObject::translate_type(&name))
            }
            "literal" => {
                let value = args.get(0, "value").map(Value::to_string).unwrap_or_default();
                Value::from(format!("{value}::{}", self.data_type))
            }
            _ => return None,
        }))
    }

    fn methods(&self) -> &'static [&'static str] {
        &[
            "is_string",
            "is_integer",
            "is_float",
            "is_numeric",
            "is_number",
            "string_size",
            "string_type",
            "can_expand_to",
            "translate_type",
            "literal",
        ]
    }

    fn repr(&self) -> String {
        format!("<Column {} ({})>", self.name, self.data_type)
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<ColumnObject>() == Some(self)
    }

    fn hash_text(&self) -> Option<String> {
        Some(format!("{}\u{0}{}", self.name, self.data_type))
    }
}

/// `api.Relation`, `api.Column` and `api` itself.
#[derive(Debug)]
pub(crate) enum Api {
    /// `api`
    Root(Arc<str>, RelationStyle),
    /// `api.Relation`
    Relation(Arc<str>, RelationStyle),
    /// `api.Column`
    Column,
}

impl Object for Api {
    fn type_name(&self) -> &str {
        match self {
            Api::Root(..) => "api",
            Api::Relation(..) => "RelationProxy",
            Api::Column => "Column",
        }
    }

    fn get_attr(&self, name: &str, state: &State<'_>) -> Option<Value> {
        match (self, name) {
            (Api::Root(database, style), "Relation") => {
                Some(Value::object(Api::Relation(database.clone(), *style)))
            }
            (Api::Root(..), "Column") => Some(Value::object(Api::Column)),
            (Api::Relation(database, style), _) => {
                Relation::new(*style, database, "", "").get_attr(name, state).filter(|_| {
                    matches!(name, "Table" | "View" | "CTE" | "External" | "MaterializedView")
                })
            }
            _ => None,
        }
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match (self, name) {
            (Api::Relation(database, style), "create") => {
                Some(Relation::create(args, *style, database))
            }
            (Api::Relation(..), "scd_args") => Some(Ok(scd_args(args))),
            (Api::Relation(..), "add_ephemeral_prefix") => Some(Ok(Value::from(format!(
                "__dbt__cte__{}",
                args.get(0, "name").cloned().unwrap_or(Value::None)
            )))),
            (Api::Column, "translate_type") => {
                let name = args.get(0, "dtype").map(Value::to_string).unwrap_or_default();
                Some(Ok(Value::from(ColumnObject::translate_type(&name))))
            }
            (Api::Column, "string_type") => {
                let size = args.get(0, "size").map(Value::to_string).unwrap_or_default();
                Some(Ok(Value::from(format!("character varying({size})"))))
            }
            (Api::Column, "create") => Some(column(args)),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        match self {
            Api::Root(..) => &[],
            Api::Relation(..) => &["create", "add_ephemeral_prefix", "scd_args"],
            Api::Column => &["translate_type", "string_type", "create"],
        }
    }

    fn call(&self, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
        match self {
            Api::Column => column(args),
            _ => Err(Error::type_error(format!("'{}' object is not callable", self.type_name()))),
        }
    }

    fn is_callable(&self) -> bool {
        matches!(self, Api::Column)
    }
}

fn column(args: &Args) -> Result<Value, Error> {
    let name = args.get(0, "column").or_else(|| args.get_keyword("name"));
    let kind = args.get(1, "dtype").or_else(|| args.get_keyword("label_or_dtype"));
    let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
    Ok(ColumnObject::new(text(name), text(kind)).value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subqueries_get_an_alias_where_they_have_none() {
        let cut = format!("(select * from t limit 0){ALIAS}t{ALIAS}");
        for (text, expected) in [
            (format!("select * from {cut}"), "select * from (select * from t limit 0) as \"t\""),
            (
                format!("select * from {cut} as x join {cut} y on true"),
                "select * from (select * from t limit 0) as x join (select * from t limit 0) y on true",
            ),
            (
                format!("from {cut}\nWHERE a, {cut})"),
                "from (select * from t limit 0) as \"t\"\nWHERE a, (select * from t limit 0) as \"t\")",
            ),
            ("select 1".to_owned(), "select 1"),
        ] {
            assert_eq!(with_aliases(&text), expected);
        }
    }
}
