//! `create table` and `create view`.

use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableLikeKind, CreateTableOptions, CreateView,
    DataType, Expr, TableConstraint, Value,
};
use tidemill_core::{Error, ErrorKind, RelationName, Result, Statement};

use super::target::{Existing, Names, quoted, quoted_relation};
use super::unsupported;
use crate::dialect::layout::like_text;
use crate::engine::EmbeddedEngine;
use crate::names::folded;

pub(crate) async fn table(
    engine: &EmbeddedEngine,
    names: &Names<'_>,
    create: CreateTable,
) -> Result<Statement> {
    refuse_options(&create)?;
    let relation = names.relation(&create.name)?;
    if names.existing(&relation).is_some() && !create.or_replace {
        if create.if_not_exists {
            return Ok(Statement::Nothing { tag: "CREATE TABLE".to_owned() });
        }
        return Err(exists(&relation));
    }
    let mut comments = Vec::new();
    for column in &create.columns {
        for option in &column.options {
            match &option.option {
                ColumnOption::Comment(text) => {
                    comments.push((folded(&column.name), text.clone()));
                }
                option => check_option(column, option)?,
            }
        }
    }
    for constraint in &create.constraints {
        if matches!(constraint, TableConstraint::Check(_)) {
            return Err(no_check());
        }
    }
    let rows = match (&create.query, &create.like, &create.clone) {
        (Some(query), None, None) if create.columns.is_empty() => query.to_string(),
        (Some(query), None, None) => {
            let given: Vec<String> =
                create.columns.iter().map(|column| quoted(&folded(&column.name))).collect();
            let found = engine
                .columns(&like_text(names.text, &query.to_string()), names.context)
                .await?
                .fields()
                .len();
            if found != given.len() {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("{} columns are named, but the query gives {found}", given.len()),
                ));
            }
            let list: Vec<String> = create
                .columns
                .iter()
                .zip(&given)
                .map(|(column, name)| match &column.data_type {
                    DataType::Unspecified => name.clone(),
                    data_type => format!("cast({name} as {data_type}) as {name}"),
                })
                .collect();
            format!("select {} from ({query}) as \"__new\"({})", list.join(", "), given.join(", "))
        }
        (None, Some(like), None) => {
            let (CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) =
                like;
            let source = names.relation(&like.name)?;
            format!("select * from {} where false", quoted_relation(&source))
        }
        (None, None, Some(source)) => {
            format!("select * from {}", quoted_relation(&names.relation(source)?))
        }
        (None, None, None) if !create.columns.is_empty() => empty(&create.columns)?,
        _ => {
            return Err(Error::new(
                ErrorKind::Query,
                "`create table` needs columns or a query: `create table t as select …`",
            ));
        }
    };
    Ok(Statement::CreateTable { relation, rows, temporary: create.temporary, comments })
}

/// A query of these columns without a row.
fn empty(columns: &[ColumnDef]) -> Result<String> {
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = folded(&column.name);
            let data_type = column.data_type.to_string();
            if data_type.to_ascii_lowercase().contains("serial") {
                return Err(unsupported(
                    &format!("a column that numbers itself (`{name} {data_type}`)"),
                    "give it a type such as bigint, and its value in the insert",
                ));
            }
            Ok(format!("cast(null as {data_type}) as {}", quoted(&name)))
        })
        .collect::<Result<_>>()?;
    Ok(format!("select {} where false", list.join(", ")))
}

fn check_option(column: &ColumnDef, option: &ColumnOption) -> Result<()> {
    match option {
        // Keys are for the reader, as in Snowflake and BigQuery; tests look after them.
        ColumnOption::Null
        | ColumnOption::NotNull
        | ColumnOption::PrimaryKey(_)
        | ColumnOption::Unique(_)
        | ColumnOption::ForeignKey(_) => Ok(()),
        ColumnOption::Default(Expr::Value(value)) if value.value == Value::Null => Ok(()),
        ColumnOption::Default(_) => Err(unsupported(
            &format!("the default of the column `{}`", column.name),
            "give the value in the insert",
        )),
        ColumnOption::Check(_) => Err(no_check()),
        other => Err(unsupported(&format!("`{other}`").to_lowercase(), "")),
    }
}

fn no_check() -> Error {
    unsupported(
        "a check constraint",
        "use a data test, which keeps what fails it from being published",
    )
}

fn exists(relation: &RelationName) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("there is a relation `{relation}` already; `create or replace` takes its place"),
    )
}

/// Clauses that would be left out of account.
fn refuse_options(create: &CreateTable) -> Result<()> {
    let refused = [
        (create.external, "an external table", "declare it as a source"),
        (create.dynamic, "a dynamic table", "make it a model"),
        (create.location.is_some(), "`location`", ""),
        (create.partition_by.is_some(), "`partition by`", "make it a model with `partition_by`"),
        (create.inherits.is_some(), "`inherits`", ""),
        (create.partition_of.is_some(), "`partition of`", ""),
        (create.version.is_some(), "`version`", ""),
        (
            !matches!(create.table_options, CreateTableOptions::None),
            "a list of options",
            "leave it out",
        ),
    ];
    match refused.into_iter().find(|(given, ..)| *given) {
        Some((_, what, instead)) => Err(unsupported(what, instead)),
        None => Ok(()),
    }
}

pub(crate) async fn view(
    engine: &EmbeddedEngine,
    names: &Names<'_>,
    create: CreateView,
) -> Result<Statement> {
    if create.materialized {
        return Err(unsupported(
            "a materialized view",
            "use `create table … as`, or make it a model",
        ));
    }
    if create.to.is_some() {
        return Err(unsupported("`to`", ""));
    }
    let relation = names.relation(&create.name)?;
    match names.existing(&relation) {
        None => {}
        Some(_) if create.if_not_exists => {
            return Ok(Statement::Nothing { tag: "CREATE VIEW".to_owned() });
        }
        Some(Existing::View) if create.or_replace => {}
        Some(Existing::Table(_)) if create.or_replace => {
            return Err(Error::new(
                ErrorKind::Query,
                format!("`{relation}` is not a view; drop the table first"),
            ));
        }
        Some(_) => return Err(exists(&relation)),
    }
    let query = create.query.to_string();
    let found = engine.columns(&query, names.context).await?;
    let sql = if create.columns.is_empty() {
        query
    } else {
        let given: Vec<String> =
            create.columns.iter().map(|column| quoted(&folded(&column.name))).collect();
        if given.len() != found.fields().len() {
            return Err(Error::new(
                ErrorKind::Query,
                format!(
                    "{} columns are named, but the query gives {}",
                    given.len(),
                    found.fields().len()
                ),
            ));
        }
        format!("select * from ({query}) as \"__new\"({})", given.join(", "))
    };
    Ok(Statement::CreateView { relation, sql, temporary: create.temporary })
}
