//! Statements that write: from their text to plain values ([`Statement`]). Nothing is run here but
//! the planning of the queries in them; performing them is up to who has the lake.
//!
//! `update`, `delete` and `merge` become a query that gives the table's new rows. Each such query
//! is put together from the text of the parts that the user wrote.

mod alter;
mod by_file;
mod change;
mod constraint;
mod create;
mod grant;
mod merge;
mod target;

use datafusion::sql::sqlparser::ast::{self, ObjectType, Query, SetExpr};
use tidemill_core::{
    Error, ErrorKind, QueryContext, RelationKind, RelationName, Result, RewriteByFile, Statement,
};

use crate::dialect::layout::like_text;
use crate::engine::EmbeddedEngine;
use crate::parse::{first_word, parse_alter_view, parse_one, refuse_writes_inside};
use crate::syntax::keep_quotes;
use target::{Existing, Names};

/// Decides what a text asks for.
pub(crate) async fn statement(
    engine: &EmbeddedEngine,
    sql: &str,
    context: &QueryContext,
) -> Result<Statement> {
    decided(engine, sql, context).await.map(|statement| placed(sql, statement))
}

/// The queries of a statement on the lines of its text, so that errors name places of that.
fn placed(text: &str, statement: Statement) -> Statement {
    let like = |sql: String| like_text(text, &sql);
    match statement {
        Statement::Insert { relation, rows } => Statement::Insert { relation, rows: like(rows) },
        Statement::Rewrite { tag, relation, rows, concerned, once, by_file } => {
            let by_file = by_file.map(|files| {
                let RewriteByFile { all, part, touched, added, once, rows } = *files;
                let touched = touched.into_iter().map(like).collect();
                let (added, rows) = (added.map(like), like(rows));
                Box::new(RewriteByFile { all, part, touched, added, once, rows })
            });
            let (rows, concerned) = (like(rows), concerned.map(like));
            Statement::Rewrite { tag, relation, rows, concerned, once, by_file }
        }
        Statement::CreateTable { relation, rows, temporary, comments } => {
            Statement::CreateTable { relation, rows: like(rows), temporary, comments }
        }
        other => other,
    }
}

async fn decided(engine: &EmbeddedEngine, sql: &str, context: &QueryContext) -> Result<Statement> {
    let names = Names { context, databases: &engine.core.options.databases, text: sql };
    if let Some((view, to, if_exists)) = parse_alter_view(sql)? {
        return names.rename("ALTER VIEW", &view, &to, if_exists);
    }
    if let Some(tag) = upkeep(sql) {
        return Ok(Statement::Nothing { tag });
    }
    let mut parsed = with_expressions(parse_one(sql)?)?;
    if matches!(
        parsed,
        ast::Statement::Insert(_)
            | ast::Statement::Update(_)
            | ast::Statement::Delete(_)
            | ast::Statement::Merge(_)
            | ast::Statement::CreateTable(_)
            | ast::Statement::CreateView(_)
    ) {
        // Their queries are written down again.
        keep_quotes(&mut parsed);
    }
    let tag = tag_of(&parsed);
    let nothing = || Ok(Statement::Nothing { tag: tag.clone() });
    match parsed {
        ast::Statement::Query(query) => {
            refuse_writes_inside(&query)?;
            Ok(Statement::Query)
        }
        ast::Statement::Explain { .. } | ast::Statement::ExplainTable { .. } => {
            Ok(Statement::Query)
        }
        ast::Statement::StartTransaction { statements, .. } if statements.is_empty() => nothing(),
        ast::Statement::Commit { .. } | ast::Statement::Rollback { savepoint: None, .. } => {
            nothing()
        }
        // Schemas come with their tables; there are no indexes, and maintenance is the lake's own.
        ast::Statement::CreateSchema { clone: None, .. }
        | ast::Statement::Analyze(_)
        | ast::Statement::Vacuum(_) => nothing(),
        ast::Statement::CreateIndex(index) if !index.unique => nothing(),
        ast::Statement::CreateIndex(index) => constraint::unique_index(&names, tag, &index),
        // What it would bring is either there or named where it is used.
        ast::Statement::CreateExtension(_) => nothing(),
        ast::Statement::Set(set) if is_tuning(&set.to_string()) => nothing(),
        ast::Statement::Reset(reset) if is_tuning(&reset.to_string()) => nothing(),
        ast::Statement::Drop { object_type, if_exists, names: dropped, cascade, .. } => {
            drop_objects(&names, &tag, object_type, if_exists, &dropped, cascade)
        }
        ast::Statement::CreateTable(create) => create::table(engine, &names, create).await,
        ast::Statement::CreateView(create) => create::view(engine, &names, create).await,
        ast::Statement::Insert(insert) => change::insert(engine, &names, insert).await,
        ast::Statement::Update(update) => change::update(&names, update),
        ast::Statement::Delete(delete) => change::delete(&names, delete),
        ast::Statement::Merge(merge) => merge::merge(&names, merge),
        ast::Statement::Truncate(truncate) => {
            let mut relations = Vec::new();
            for table in &truncate.table_names {
                let relation = names.relation(&table.name)?;
                if truncate.if_exists && names.existing(&relation).is_none() {
                    continue;
                }
                names.table(&relation)?;
                relations.push(relation);
            }
            Ok(Statement::Truncate { relations })
        }
        ast::Statement::AlterTable(alter) => alter::table(engine, &names, alter).await,
        ast::Statement::Comment { object_type, object_name, comment, if_exists } => {
            alter::comment(&names, object_type, &object_name, comment, if_exists)
        }
        ast::Statement::Grant(grant) => grant::grant(&names, &grant),
        ast::Statement::Revoke(revoke) => grant::revoke(&names, &revoke),
        _ => Err(unsupported(&tag.to_lowercase(), "")),
    }
}

/// Upkeep of a database that the lake does by itself, as far as the parser does not know it.
fn upkeep(sql: &str) -> Option<String> {
    let first = first_word(sql).to_ascii_uppercase();
    matches!(first.as_str(), "VACUUM" | "CLUSTER" | "REINDEX").then_some(first)
}

/// Whether a setting of PostgreSQL changes how quickly or how long something runs, not what comes out.
fn is_tuning(set: &str) -> bool {
    const TUNING: [&str; 13] = [
        "enable_",
        "jit",
        "max_parallel_",
        "parallel_",
        "random_page_cost",
        "seq_page_cost",
        "effective_",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "client_min_messages",
        "application_name",
        "synchronous_commit",
    ];
    let text = set.to_ascii_lowercase();
    let name = text
        .split_whitespace()
        .skip(1)
        .find(|word| !matches!(*word, "local" | "session"))
        .unwrap_or_default();
    name.ends_with("work_mem") || TUNING.iter().any(|known| name.starts_with(known))
}

pub(crate) fn unsupported(what: &str, instead: &str) -> Error {
    let instead = if instead.is_empty() { String::new() } else { format!("; {instead}") };
    Error::new(ErrorKind::Unsupported, format!("{what} is not supported{instead}"))
}

/// The words that a statement begins with.
pub(crate) fn tag_of(statement: &ast::Statement) -> String {
    let text = statement.to_string();
    let mut words = text.split_whitespace().filter(|word| {
        !matches!(*word, "OR" | "REPLACE" | "TEMPORARY" | "TEMP" | "TRANSIENT" | "MATERIALIZED")
    });
    match (words.next(), words.next()) {
        (Some(first @ ("CREATE" | "DROP" | "ALTER" | "TRUNCATE")), Some(second)) => {
            format!("{first} {second}")
        }
        (Some(first), _) => first.to_owned(),
        (None, _) => "statement".to_owned(),
    }
}

/// `with x as (…) insert into t select … from x` is a query to the parser.
fn with_expressions(statement: ast::Statement) -> Result<ast::Statement> {
    let ast::Statement::Query(mut query) = statement else { return Ok(statement) };
    let body = std::mem::replace(&mut *query.body, SetExpr::Values(empty_values()));
    match body {
        SetExpr::Insert(ast::Statement::Insert(mut insert)) => {
            if let (Some(with), Some(source)) = (query.with.take(), insert.source.as_mut()) {
                add_expressions(source, with)?;
            }
            Ok(ast::Statement::Insert(insert))
        }
        SetExpr::Insert(other)
        | SetExpr::Update(other)
        | SetExpr::Delete(other)
        | SetExpr::Merge(other) => {
            if query.with.is_some() {
                return Err(unsupported(
                    "`with` before this statement",
                    "write its expressions as subqueries where they are used",
                ));
            }
            Ok(other)
        }
        body => {
            *query.body = body;
            Ok(ast::Statement::Query(query))
        }
    }
}

fn empty_values() -> ast::Values {
    ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() }
}

fn add_expressions(source: &mut Query, with: ast::With) -> Result<()> {
    match &mut source.with {
        Some(inner) => {
            inner.recursive |= with.recursive;
            let own = std::mem::take(&mut inner.cte_tables);
            inner.cte_tables = with.cte_tables.into_iter().chain(own).collect();
        }
        None => source.with = Some(with),
    }
    Ok(())
}

fn drop_objects(
    names: &Names<'_>,
    tag: &str,
    object_type: ObjectType,
    if_exists: bool,
    dropped: &[ast::ObjectName],
    cascade: bool,
) -> Result<Statement> {
    let tag = tag.to_owned();
    let view = match object_type {
        ObjectType::Table => false,
        ObjectType::View | ObjectType::MaterializedView => true,
        ObjectType::Index => return Ok(Statement::Nothing { tag }),
        ObjectType::Schema => return drop_schemas(names, tag, dropped, cascade),
        other => return Err(unsupported(&format!("drop {other}").to_lowercase(), "")),
    };
    let mut relations = Vec::new();
    for name in dropped {
        let relation = names.relation(name)?;
        match names.existing(&relation) {
            None if if_exists => {}
            None => return Err(names.missing(&relation)),
            Some(Existing::View) if !view => {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("`{relation}` is not a table; use `drop view`"),
                ));
            }
            Some(Existing::Table(_)) if view => {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("`{relation}` is not a view; use `drop table`"),
                ));
            }
            Some(_) if !relations.contains(&relation) => relations.push(relation),
            Some(_) => {}
        }
    }
    Ok(if relations.is_empty() {
        Statement::Nothing { tag }
    } else {
        Statement::Drop { tag, relations }
    })
}

fn drop_schemas(
    names: &Names<'_>,
    tag: String,
    dropped: &[ast::ObjectName],
    cascade: bool,
) -> Result<Statement> {
    let mut relations: Vec<RelationName> = Vec::new();
    for name in dropped {
        let schema = names.schema(name)?;
        let known = names.context.snapshot.relations.keys();
        let inside: Vec<RelationName> =
            known.filter(|relation| relation.schema() == schema).cloned().collect();
        if !cascade && !inside.is_empty() {
            return Err(Error::new(
                ErrorKind::Query,
                format!(
                    "the schema `{schema}` is not empty ({}, …); `cascade` drops all that is in it",
                    inside[0]
                ),
            ));
        }
        relations.extend(inside);
    }
    Ok(if relations.is_empty() {
        Statement::Nothing { tag }
    } else {
        Statement::Drop { tag, relations }
    })
}

impl Names<'_> {
    /// A rename within the relation's own schema unless another one is named.
    fn rename(
        &self,
        tag: &str,
        relation: &ast::ObjectName,
        to: &ast::ObjectName,
        if_exists: bool,
    ) -> Result<Statement> {
        let relation = self.relation(relation)?;
        if self.existing(&relation).is_none() {
            return if if_exists {
                Ok(Statement::Nothing { tag: tag.to_owned() })
            } else {
                Err(self.missing(&relation))
            };
        }
        let to = match to.0.len() {
            1 => RelationName::new(relation.schema(), self.relation(to)?.name()),
            _ => self.relation(to)?,
        };
        if self.existing(&to).is_some() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("there is a relation `{to}` already"),
            ));
        }
        Ok(Statement::Rename { tag: tag.to_owned(), relation, to })
    }
}

/// Whether the published form is a view.
pub(crate) fn is_view(kind: &RelationKind) -> bool {
    matches!(kind, RelationKind::View { .. })
}
