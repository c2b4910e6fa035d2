//! Constraints that are added to a table. The lake keeps none: they are held against the rows that
//! are there, as a database does when one is added. (A model is made anew with its hooks, so they
//! are held against every version of it; what a test says holds on its own.)

use datafusion::sql::sqlparser::ast::{
    CreateIndex, ForeignKeyConstraint, Ident, IndexColumn, TableConstraint,
};
use tidemill_core::{RelationName, Result, Statement};

use super::target::{Names, quoted_relation};
use super::unsupported;

/// `create unique index`
pub(super) fn unique_index(
    names: &Names<'_>,
    tag: String,
    index: &CreateIndex,
) -> Result<Statement> {
    let relation = names.relation(&index.table_name)?;
    names.table(&relation)?;
    let rows = index.predicate.as_ref().map(|rows| format!("({rows})"));
    let nulls_are_keys = index.nulls_distinct == Some(false);
    let keys = expressions(&index.columns);
    let conditions = vec![unique(&relation, &keys, rows, nulls_are_keys)];
    Ok(Statement::Verify { tag, relation, conditions })
}

/// What must hold of a table: queries that give the number of rows that break it, with what to say then.
pub(super) fn conditions(
    names: &Names<'_>,
    relation: &RelationName,
    constraint: &TableConstraint,
) -> Result<Vec<(String, String)>> {
    Ok(match constraint {
        TableConstraint::PrimaryKey(key) => {
            let keys = expressions(&key.columns);
            let mut conditions: Vec<_> =
                keys.iter().map(|key| not_null_of(relation, key)).collect();
            conditions.push(unique(relation, &keys, None, false));
            conditions
        }
        TableConstraint::Unique(key) => {
            vec![unique(relation, &expressions(&key.columns), None, false)]
        }
        TableConstraint::Check(check) => vec![(
            format!(
                "select count(*) from {} where not ({})",
                quoted_relation(relation),
                check.expr
            ),
            format!("rows of `{relation}` break the constraint `{}`", check.expr),
        )],
        TableConstraint::ForeignKey(key) => vec![foreign_key(names, relation, key)?],
        other => return Err(unsupported(&format!("the constraint `{other}`"), "")),
    })
}

/// `alter column … set not null`
pub(super) fn not_null(relation: &RelationName, column: &Ident) -> (String, String) {
    not_null_of(relation, &column.to_string())
}

fn not_null_of(relation: &RelationName, key: &str) -> (String, String) {
    (
        format!("select count(*) from {} where {key} is null", quoted_relation(relation)),
        format!("column `{key}` of `{relation}` contains null values"),
    )
}

fn expressions(columns: &[IndexColumn]) -> Vec<String> {
    columns.iter().map(|column| column.column.expr.to_string()).collect()
}

/// Rows with a NULL among their keys equal none, unless that is said.
fn unique(
    relation: &RelationName,
    keys: &[String],
    rows: Option<String>,
    nulls_are_keys: bool,
) -> (String, String) {
    let mut filter: Vec<String> = rows.into_iter().collect();
    if !nulls_are_keys {
        filter.extend(keys.iter().map(|key| format!("({key}) is not null")));
    }
    let filter =
        if filter.is_empty() { String::new() } else { format!(" where {}", filter.join(" and ")) };
    let keys = keys.join(", ");
    (
        format!(
            "select count(*) from (select 1 as one from {}{filter} group by {keys} having count(*) > 1) as several",
            quoted_relation(relation)
        ),
        format!("`{keys}` is not unique in `{relation}`"),
    )
}

fn foreign_key(
    names: &Names<'_>,
    relation: &RelationName,
    key: &ForeignKeyConstraint,
) -> Result<(String, String)> {
    let target = names.relation(&key.foreign_table)?;
    names.table(&target)?;
    if key.referred_columns.len() != key.columns.len() {
        return Err(unsupported(
            "a foreign key without the columns that it refers to",
            &format!("write `references {target} (…)`"),
        ));
    }
    let pairs = key.columns.iter().zip(&key.referred_columns);
    let joined: Vec<String> =
        pairs.map(|(column, referred)| format!("parent.{referred} = child.{column}")).collect();
    let given: Vec<String> =
        key.columns.iter().map(|column| format!("child.{column} is not null")).collect();
    let columns: Vec<String> = key.columns.iter().map(Ident::to_string).collect();
    Ok((
        format!(
            "select count(*) from {} as child where {} and not exists (select 1 from {} as parent where {})",
            quoted_relation(relation),
            given.join(" and "),
            quoted_relation(&target),
            joined.join(" and ")
        ),
        format!("rows of `{relation}` have `{}` that `{target}` has not", columns.join(", ")),
    ))
}
