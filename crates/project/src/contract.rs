//! Contracts: the columns and types that a model promises, and what its rows must keep to.

use indexmap::IndexMap;
use serde_json::Value;

use crate::manifest::Column;

/// What a model with `contract: {enforced: true}` promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractSpec {
    /// Its columns, in the order of the YAML.
    pub columns: Vec<ContractColumn>,
    /// What its rows must keep to: of the columns, then of the model.
    pub constraints: Vec<Constraint>,
}

/// A promised column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractColumn {
    /// Its name.
    pub name: String,
    /// Its SQL type, as written.
    pub data_type: String,
}

/// Something that every row must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// What it is.
    pub kind: ConstraintKind,
    /// Its own name.
    pub name: Option<String>,
    /// The columns that it is about.
    pub columns: Vec<String>,
    /// The condition of a check, what a foreign key refers to, or words that databases know.
    pub expression: Option<String>,
    /// What a foreign key refers to: `ref('x')`, `source('a', 'b')` or a relation.
    pub to: Option<String>,
    /// The columns there.
    pub to_columns: Vec<String>,
    /// Whether the user wants to hear that it is not enforced.
    pub warns: bool,
}

/// The kinds of constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// No NULL.
    NotNull,
    /// No value twice; NULLs do not count.
    Unique,
    /// No value twice and no NULL.
    PrimaryKey,
    /// Every value occurs in another relation.
    ForeignKey,
    /// A condition is not false.
    Check,
    /// Words for some database.
    Custom,
}

impl ConstraintKind {
    /// dbt's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ConstraintKind::NotNull => "not_null",
            ConstraintKind::Unique => "unique",
            ConstraintKind::PrimaryKey => "primary_key",
            ConstraintKind::ForeignKey => "foreign_key",
            ConstraintKind::Check => "check",
            ConstraintKind::Custom => "custom",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            ConstraintKind::NotNull,
            ConstraintKind::Unique,
            ConstraintKind::PrimaryKey,
            ConstraintKind::ForeignKey,
            ConstraintKind::Check,
            ConstraintKind::Custom,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// Something that is wrong with a contract: a sentence and what to do.
pub(crate) type Problem = (String, Option<String>);

/// Reads a contract.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(
    columns: &IndexMap<String, Column>,
    of_model: &[Value],
) -> Result<ContractSpec, Vec<Problem>> {
    let mut problems: Vec<Problem> = Vec::new();
    if columns.is_empty() {
        problems.push((
            "it has an enforced contract, and its `columns` are missing".to_owned(),
            Some("list its columns with their `data_type`".to_owned()),
        ));
    }
    let mut contract = ContractSpec { columns: Vec::new(), constraints: Vec::new() };
    let mut primary_keys = Vec::new();
    for column in columns.values() {
        match &column.data_type {
            Some(data_type) => contract
                .columns
                .push(ContractColumn { name: column.name.clone(), data_type: data_type.clone() }),
            None => problems.push((
                format!("its contract needs the `data_type` of the column `{}`", column.name),
                None,
            )),
        }
        for written in &column.constraints {
            match constraint(written, Some(&column.name)) {
                Ok(found) => {
                    if found.kind == ConstraintKind::PrimaryKey {
                        primary_keys.push(column.name.as_str());
                    }
                    contract.constraints.push(found);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    if primary_keys.len() > 1 {
        problems.push((
            format!("the columns {} are primary keys each", primary_keys.join(", ")),
            Some("declare a primary key of several columns once, at the model".to_owned()),
        ));
    }
    for written in of_model {
        match constraint(written, None) {
            Ok(found) => {
                if found.kind == ConstraintKind::PrimaryKey && !primary_keys.is_empty() {
                    problems.push((
                        "it has a primary key at the model and at a column".to_owned(),
                        Some("keep one of the two".to_owned()),
                    ));
                }
                for name in &found.columns {
                    if !columns.contains_key(name) {
                        problems.push((
                            format!(
                                "its constraint {} names the column `{name}`, which it does not have",
                                found.kind.as_str()
                            ),
                            None,
                        ));
                    }
                }
                contract.constraints.push(found);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(contract) } else { Err(problems) }
}

fn constraint(written: &Value, column: Option<&str>) -> Result<Constraint, Problem> {
    let text = |key: &str| written.get(key).and_then(Value::as_str).map(str::to_owned);
    let texts = |key: &str| -> Vec<String> {
        match written.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        }
    };
    let flag = |key: &str| written.get(key).and_then(Value::as_bool).unwrap_or(true);
    let kind = text("type").unwrap_or_default();
    let Some(kind) = ConstraintKind::parse(&kind) else {
        return Err((
            format!("there is no constraint of type `{kind}`"),
            Some("use not_null, unique, primary_key, foreign_key, check or custom".to_owned()),
        ));
    };
    let columns = match column {
        Some(column) => vec![column.to_owned()],
        None => texts("columns"),
    };
    let constraint = Constraint {
        kind,
        name: text("name"),
        columns,
        expression: text("expression").filter(|text| !text.trim().is_empty()),
        to: text("to"),
        to_columns: texts("to_columns"),
        warns: flag("warn_unenforced") && flag("warn_unsupported"),
    };
    let needs = |what: &str| (format!("its constraint {} needs {what}", kind.as_str()), None);
    match kind {
        ConstraintKind::Check if constraint.expression.is_none() => Err(needs("`expression`")),
        ConstraintKind::ForeignKey
            if constraint.expression.is_none()
                && (constraint.to.is_none() || constraint.to_columns.is_empty()) =>
        {
            Err(needs("`to` and `to_columns`, or `expression`"))
        }
        ConstraintKind::NotNull
        | ConstraintKind::Unique
        | ConstraintKind::PrimaryKey
        | ConstraintKind::ForeignKey
            if constraint.columns.is_empty() =>
        {
            Err(needs("`columns`"))
        }
        _ => Ok(constraint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_a_contract_is_told() {
        let column = |name: &str, data_type: Option<&str>, constraints: Value| Column {
            name: name.to_owned(),
            data_type: data_type.map(str::to_owned),
            constraints: constraints.as_array().cloned().unwrap_or_default(),
            ..Column::default()
        };
        let read = |columns: Vec<Column>, model: Value| {
            let columns = columns.into_iter().map(|column| (column.name.clone(), column)).collect();
            super::read(&columns, &model.as_array().cloned().unwrap_or_default()).map_err(
                |problems| problems.into_iter().map(|problem| problem.0).collect::<String>(),
            )
        };
        let id = |constraints: Value| vec![column("id", Some("int"), constraints)];
        let cases = [
            (vec![], json!([]), "`columns` are missing"),
            (vec![column("id", None, json!([]))], json!([]), "the `data_type` of the column `id`"),
            (id(json!([{"type": "nonnull"}])), json!([]), "no constraint of type `nonnull`"),
            (id(json!([{"type": "check"}])), json!([]), "needs `expression`"),
            (id(json!([])), json!([{"type": "unique"}]), "needs `columns`"),
            (id(json!([])), json!([{"type": "unique", "columns": ["x"]}]), "the column `x`"),
            (
                id(json!([{"type": "primary_key"}])),
                json!([{"type": "primary_key", "columns": ["id"]}]),
                "at the model and at a column",
            ),
            (id(json!([{"type": "foreign_key", "to": "ref('x')"}])), json!([]), "`to_columns`"),
        ];
        for (columns, model, expected) in cases {
            let found = read(columns, model.clone()).unwrap_err();
            assert!(found.contains(expected), "{model}: {found}");
        }
        let good = read(
            id(json!([{"type": "not_null"}])),
            json!([{"type": "check", "name": "positive", "expression": "id > 0"}]),
        );
        assert_eq!(good.unwrap().constraints.len(), 2);
    }
}
