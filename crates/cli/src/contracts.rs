//! A model's contract against its query: names, types, order; and its constraints as rules.

use arrow::datatypes::{DataType, Schema};
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_project::{Constraint, ConstraintKind, ContractColumn, ContractSpec, Node};
use tidemill_run::{Contracted, RenderRequest, Rule, RuleKind};

use crate::renderer::{ProjectRenderer, template_error};
use crate::types;

impl ProjectRenderer {
    /// The query in the columns of the contract.
    pub(crate) fn contracted(
        &self,
        node: &Node,
        contract: &ContractSpec,
        sql: &str,
        found: &Schema,
        request: &RenderRequest,
    ) -> Result<Contracted> {
        let view = node.config.materialized.as_str() == "view";
        let sql = conformed(&contract.columns, sql, found, view)?;
        let mut rules = Vec::new();
        if !view {
            for constraint in &contract.constraints {
                rules.extend(self.rules(node, constraint, request)?);
            }
        }
        Ok(Contracted { sql, constraints: rules })
    }

    fn rules(
        &self,
        node: &Node,
        constraint: &Constraint,
        request: &RenderRequest,
    ) -> Result<Vec<Rule>> {
        let columns = constraint.columns.join(", ");
        let named = |what: &str| match (&constraint.name, columns.is_empty()) {
            (Some(name), _) => format!("{} {name} ({what})", constraint.kind.as_str()),
            (None, _) => format!("{} ({what})", constraint.kind.as_str()),
        };
        let rule = |kind: RuleKind| Rule { name: named(&columns), kind };
        Ok(match constraint.kind {
            ConstraintKind::NotNull => constraint
                .columns
                .iter()
                .map(|column| Rule { name: named(column), kind: RuleKind::NotNull(column.clone()) })
                .collect(),
            ConstraintKind::Unique => vec![rule(RuleKind::Unique(constraint.columns.clone()))],
            ConstraintKind::PrimaryKey => {
                let mut rules = vec![rule(RuleKind::Unique(constraint.columns.clone()))];
                rules.extend(constraint.columns.iter().map(|column| Rule {
                    name: named(&format!("{column} is NULL")),
                    kind: RuleKind::NotNull(column.clone()),
                }));
                rules
            }
            ConstraintKind::Check => {
                let condition = constraint.expression.clone().unwrap_or_default();
                vec![Rule { name: named(&condition), kind: RuleKind::Check(condition) }]
            }
            ConstraintKind::ForeignKey => {
                let (relation, referenced) = match (&constraint.to, &constraint.expression) {
                    (Some(to), _) => {
                        let text = match to.contains('(') {
                            true => format!("{{{{ {to} }}}}"),
                            false => to.clone(),
                        };
                        let state = self.state(request);
                        let rendered = self
                            .project
                            .render_for(&node.unique_id, &text, &state)
                            .map_err(template_error)?;
                        (rendered.sql, constraint.to_columns.clone())
                    }
                    (None, expression) => referenced(expression.as_deref().unwrap_or_default())?,
                };
                if referenced.len() != constraint.columns.len() {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "the foreign key of {} has {} columns and refers to {}",
                            columns,
                            constraint.columns.len(),
                            referenced.len()
                        ),
                    ));
                }
                let kind = RuleKind::ForeignKey {
                    columns: constraint.columns.clone(),
                    relation: relation.clone(),
                    referenced: referenced.clone(),
                };
                let what = format!("{columns} in {relation} ({})", referenced.join(", "));
                vec![Rule { name: named(&what), kind }]
            }
            // Words for a database; the loader has told that nothing enforces them.
            ConstraintKind::Custom => Vec::new(),
        })
    }
}

/// `schema.table (a, b)`
fn referenced(expression: &str) -> Result<(String, Vec<String>)> {
    let understood = expression.split_once('(').and_then(|(relation, rest)| {
        let (columns, _) = rest.split_once(')')?;
        let columns = columns.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        Some((relation.trim().to_owned(), columns.collect()))
    });
    understood.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("the foreign key's expression `{expression}` is not understood"),
        )
        .with("hint", "write `to: ref('x')` and `to_columns: [id]`, or `schema.table (id)`")
    })
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query with the contract's columns in its order and types; an error with dbt's table when
/// names or types differ.
fn conformed(columns: &[ContractColumn], sql: &str, found: &Schema, view: bool) -> Result<String> {
    let mut mismatches: Vec<[String; 4]> = Vec::new();
    let mut wanted = Vec::new();
    for column in columns {
        let Some(data_type) = type_of(&column.data_type) else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the type `{}` of the contract is not known", column.data_type),
            )
            .with("column", &column.name));
        };
        wanted.push((column, data_type));
    }
    for field in found.fields() {
        let own = types::name(field.data_type());
        match wanted.iter().find(|(column, _)| column.name.eq_ignore_ascii_case(field.name())) {
            None => mismatches.push([
                field.name().clone(),
                own,
                String::new(),
                "missing in contract".to_owned(),
            ]),
            Some((_, data_type)) if !is_kept(field.data_type(), data_type) => mismatches.push([
                field.name().clone(),
                own,
                types::name(data_type),
                "data type mismatch".to_owned(),
            ]),
            Some(_) => {}
        }
    }
    let field_of =
        |name: &str| found.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name));
    for (column, data_type) in &wanted {
        if field_of(&column.name).is_none() {
            mismatches.push([
                column.name.clone(),
                String::new(),
                types::name(data_type),
                "missing in definition".to_owned(),
            ]);
        }
    }
    if !mismatches.is_empty() {
        mismatches.sort();
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "This model has an enforced contract that failed.\nPlease ensure the name, data_type, and number of columns in your contract match the columns in your model's definition.\n\n{}",
                table(&mismatches)
            ),
        ));
    }
    let mut same = true;
    let selected: Vec<String> = wanted
        .iter()
        .filter_map(|(column, data_type)| Some((field_of(&column.name)?, data_type)))
        .enumerate()
        .map(|(number, (field, data_type))| {
            let name = quoted(field.name());
            let cast = !equal(field.data_type(), data_type);
            same &= !cast && (view || found.field(number).name() == field.name());
            match cast {
                true => format!("cast({name} as {}) as {name}", types::name(data_type)),
                false => name,
            }
        })
        .collect();
    if same {
        return Ok(sql.to_owned());
    }
    Ok(format!("select {} from (\n{sql}\n) as contracted", selected.join(", ")))
}

/// The type that a contract says; `text[]` is a list.
fn type_of(text: &str) -> Option<DataType> {
    match text.trim().strip_suffix("[]") {
        Some(item) => Some(DataType::new_list(type_of(item)?, true)),
        None => types::parse(text),
    }
}

/// Whether types are stored alike.
fn equal(found: &DataType, declared: &DataType) -> bool {
    types::name(found) == types::name(declared)
}

/// Whether a query's column keeps the promise of a type, perhaps by a cast that loses nothing or
/// fails: integers of another width (a literal is a `bigint` here), decimals of other digits, and
/// numbers that PostgreSQL has as `numeric` where they are integers or doubles here.
fn is_kept(found: &DataType, declared: &DataType) -> bool {
    let decimal = |data_type: &DataType| {
        matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
    };
    if let (DataType::List(found), DataType::List(declared)) = (found, declared) {
        return is_kept(found.data_type(), declared.data_type());
    }
    equal(found, declared)
        || *found == DataType::Null
        || (found.is_integer() && (declared.is_integer() || decimal(declared)))
        || (decimal(found) && decimal(declared))
        || (found.is_floating() && (declared.is_floating() || decimal(declared)))
}

/// As agate prints it for dbt.
fn table(rows: &[[String; 4]]) -> String {
    let header =
        ["column_name", "definition_type", "contract_type", "mismatch_reason"].map(str::to_owned);
    let width = |column: usize| {
        rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    let line = |cells: &[String; 4]| {
        let cells: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("| {} |", cells.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut lines = vec![line(&header), format!("| {} |", rule.join(" | "))];
    lines.extend(rows.iter().map(line));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;

    fn column(name: &str, data_type: &str) -> ContractColumn {
        ContractColumn { name: name.to_owned(), data_type: data_type.to_owned() }
    }

    #[test]
    fn a_query_is_brought_to_its_contract_or_refused() {
        let found = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("Name", DataType::Utf8View, true),
        ]);
        let conformed = |columns: &[ContractColumn], view| conformed(columns, "q", &found, view);
        let same = [column("id", "bigint"), column("name", "varchar(20)")];
        assert_eq!(conformed(&same, false).unwrap(), "q");
        let swapped = [column("name", "text"), column("id", "int")];
        assert_eq!(
            conformed(&swapped, false).unwrap(),
            "select \"Name\", cast(\"id\" as integer) as \"id\" from (\nq\n) as contracted"
        );
        assert_eq!(
            conformed(&[column("name", "text"), column("id", "bigint")], true).unwrap(),
            "q"
        );
        let lists = Schema::new(vec![Field::new_list(
            "tags",
            Field::new_list_field(DataType::Utf8, true),
            true,
        )]);
        let tags =
            |data_type: &str| super::conformed(&[column("tags", data_type)], "q", &lists, false);
        assert_eq!(tags("varchar[]").unwrap(), "q");
        assert!(tags("date[]").is_err() && tags("text").is_err() && tags("geometry[]").is_err());
        let error = conformed(&[column("id", "text"), column("day", "date")], false).unwrap_err();
        assert!(
            error.to_string().ends_with(
                "| column_name | definition_type | contract_type | mismatch_reason       |\n\
                 | ----------- | --------------- | ------------- | --------------------- |\n\
                 | Name        | text            |               | missing in contract   |\n\
                 | day         |                 | date          | missing in definition |\n\
                 | id          | bigint          | text          | data type mismatch    |"
            ),
            "{error}"
        );
    }
}
