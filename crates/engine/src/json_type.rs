//! Which texts are JSON. To the engine `json` and `jsonb` are texts; that a column is one of them stands
//! beside its type, as the name of an extension type, which a cast to another type takes away.

use arrow::datatypes::Field;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable};
use tidemill_core::{JSON, JSONB, STORED_TYPE};
use tidemill_lake::EXTENSION_TYPE;

/// The JSON types of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonType {
    /// A text as it is written.
    Json,
    /// A text of one form.
    Jsonb,
}

impl JsonType {
    /// As PostgreSQL calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            JsonType::Json => "json",
            JsonType::Jsonb => "jsonb",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [JsonType::Json, JsonType::Jsonb].into_iter().find(|json| json.name() == name)
    }
}

/// What a column is, where it is known to be JSON.
pub(crate) fn json_type(field: &Field) -> Option<JsonType> {
    match field.metadata().get(EXTENSION_TYPE)?.as_str() {
        JSON => Some(JsonType::Json),
        JSONB => Some(JsonType::Jsonb),
        _ => None,
    }
}

/// The column as JSON.
pub(crate) fn with_json_type(field: Field, json: JsonType) -> Field {
    let name = match json {
        JsonType::Json => JSON,
        JsonType::Jsonb => JSONB,
    };
    let mut metadata = field.metadata().clone();
    metadata.insert(EXTENSION_TYPE.to_owned(), name.to_owned());
    field.with_metadata(metadata)
}

/// A column of a result, which says what the column of the query was: tables keep it.
pub(crate) fn stored(plain: Field, field: &Field) -> Field {
    match (json_type(field), field.metadata().get(EXTENSION_TYPE)) {
        (Some(_), Some(name)) => {
            let mut metadata = plain.metadata().clone();
            metadata.insert(STORED_TYPE.to_owned(), name.clone());
            plain.with_metadata(metadata)
        }
        _ => plain,
    }
}

/// What an expression gives, where it is known to be JSON. Functions that choose among their arguments
/// give what these are.
pub(crate) fn json_type_of(expr: &Expr, schema: &DFSchema) -> Option<JsonType> {
    let first = |mut all: std::slice::Iter<'_, Expr>| all.find_map(|one| json_type_of(one, schema));
    match expr {
        // An operator gives none: those of JSON are functions by now.
        Expr::BinaryExpr(_) | Expr::Literal(..) => None,
        Expr::Alias(alias) => json_type_of(&alias.expr, schema),
        Expr::Case(case) => {
            let results = case.when_then_expr.iter().map(|(_, result)| result);
            results.chain(&case.else_expr).find_map(|result| json_type_of(result, schema))
        }
        Expr::ScalarFunction(call) if CHOOSING.contains(&call.name()) => first(call.args.iter()),
        Expr::AggregateFunction(call) if CHOOSING.contains(&call.func.name()) => {
            first(call.params.args.iter())
        }
        Expr::WindowFunction(call) if CHOOSING.contains(&call.fun.name()) => {
            first(call.params.args.iter())
        }
        other => json_type(&other.to_field(schema).ok()?.1),
    }
}

/// Whether it is a call whose value is one of its arguments.
pub(crate) fn chooses(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if CHOOSING.contains(&call.name()))
}

/// Whether a function of one argument does another thing with JSON than with a text. The planner says in a
/// second argument which type it is.
pub(crate) fn says_json(name: &str) -> bool {
    ["tidemill_as_json", "to_json", "typeof", "pg_typeof"].contains(&name)
}

/// Whether a function says in its first argument which of the others are JSON.
pub(crate) fn lists_json(name: &str) -> bool {
    ["tidemill_json_object", "tidemill_json_array"].contains(&name)
}

/// Functions whose value is one of their arguments.
const CHOOSING: [&str; 12] = [
    "coalesce",
    "nvl",
    "nullif",
    "greatest",
    "least",
    "any_value",
    "first_value",
    "last_value",
    "nth_value",
    "lag",
    "lead",
    "tidemill_single",
];
