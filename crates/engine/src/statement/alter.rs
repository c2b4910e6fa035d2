//! `alter table` and `comment on`.

use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnOption, CommentObject, Expr,
    ObjectName, ObjectNamePart, RenameTableNameKind, Value,
};
use tidemill_core::arrow_schema::{DataType, SchemaRef};
use tidemill_core::{
    Error, ErrorKind, OverlayEntry, RelationName, Result, SchemaChange, Statement,
};

use super::target::{Existing, Names, column_of, quoted, quoted_relation};
use super::{constraint, unsupported};
use crate::engine::EmbeddedEngine;
use crate::names::folded;

/// A column on its way through the operations.
struct Column {
    name: String,
    /// Its value in terms of the table as it is.
    value: String,
}

pub(crate) async fn table(
    engine: &EmbeddedEngine,
    names: &Names<'_>,
    alter: AlterTable,
) -> Result<Statement> {
    let tag = "ALTER TABLE".to_owned();
    let relation = names.relation(&alter.name)?;
    if names.existing(&relation).is_none() && alter.if_exists {
        return Ok(Statement::Nothing { tag });
    }
    if let [AlterTableOperation::RenameTable { table_name }] = alter.operations.as_slice() {
        let (RenameTableNameKind::As(to) | RenameTableNameKind::To(to)) = table_name;
        return names.rename(&tag, &alter.name, to, alter.if_exists);
    }
    let schema = names.table(&relation)?;
    let mut plan = Plan::new(&relation, &schema);
    // What is not published is written again: it has no log to say a change in.
    let held = matches!(names.context.overlay.0.get(&relation), Some(OverlayEntry::Staged(_)));
    for operation in alter.operations {
        plan.apply(engine, names, operation).await?;
    }
    if plan.columns.is_empty() {
        return Err(Error::new(ErrorKind::Query, "a table needs at least one column"));
    }
    if !plan.conditions.is_empty() {
        if plan.rewrite || !plan.changes.is_empty() {
            return Err(unsupported(
                "`alter table` with a constraint and another change",
                "write two statements",
            ));
        }
        let conditions = plan.conditions;
        return Ok(Statement::Verify { tag, relation, conditions });
    }
    let adds = |changes: &[SchemaChange]| {
        changes.iter().any(|change| !matches!(change, SchemaChange::Comment { .. }))
    };
    plan.rewrite |= held && adds(&plan.changes);
    Ok(match plan {
        Plan { changes, rewrite: false, .. } if changes.is_empty() => Statement::Nothing { tag },
        Plan { changes, rewrite: false, .. } => Statement::Change { tag, relation, changes },
        Plan { columns, .. } => {
            let list: Vec<String> = columns
                .iter()
                .map(|column| format!("{} as {}", column.value, quoted(&column.name)))
                .collect();
            Statement::Rewrite {
                tag,
                rows: format!("select {} from {}", list.join(", "), quoted_relation(&relation)),
                relation,
                concerned: None,
                once: None,
                by_file: None,
            }
        }
    })
}

struct Plan<'a> {
    relation: &'a RelationName,
    columns: Vec<Column>,
    changes: Vec<SchemaChange>,
    /// Whether the changes alone do not do.
    rewrite: bool,
    /// Constraints that are added.
    conditions: Vec<(String, String)>,
}

impl<'a> Plan<'a> {
    fn new(relation: &'a RelationName, schema: &SchemaRef) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column { name: field.name().clone(), value: quoted(field.name()) })
            .collect();
        Plan { relation, columns, changes: Vec::new(), rewrite: false, conditions: Vec::new() }
    }

    fn find(&self, wanted: &str) -> Result<usize> {
        let place = self.columns.iter().position(|column| column.name == wanted).or_else(|| {
            self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(wanted))
        });
        place.ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            Error::new(
                ErrorKind::Query,
                format!(
                    "`{}` has no column `{wanted}`; it has {}",
                    self.relation,
                    known.join(", ")
                ),
            )
        })
    }

    async fn apply(
        &mut self,
        engine: &EmbeddedEngine,
        names: &Names<'_>,
        operation: AlterTableOperation,
    ) -> Result<()> {
        match operation {
            AlterTableOperation::AddColumn { if_not_exists, column_def, .. } => {
                let name = folded(&column_def.name);
                if self.find(&name).is_ok() {
                    if if_not_exists {
                        return Ok(());
                    }
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        format!("`{}` has a column `{name}` already", self.relation),
                    ));
                }
                let mut value = "null".to_owned();
                let mut comment = None;
                for option in column_def.options {
                    match option.option {
                        ColumnOption::Default(given) => {
                            self.rewrite |= !is_null(&given);
                            value = given.to_string();
                        }
                        ColumnOption::Comment(text) => comment = Some(text),
                        ColumnOption::Check(_) | ColumnOption::Generated { .. } => {
                            return Err(unsupported(&format!("`{}`", option.option), ""));
                        }
                        _ => {}
                    }
                }
                let value = format!("cast({value} as {})", column_def.data_type);
                let data_type = data_type(engine, names, &value).await?;
                self.changes.push(SchemaChange::Add(name.clone(), data_type));
                if comment.is_some() {
                    self.changes
                        .push(SchemaChange::Comment { column: Some(name.clone()), text: comment });
                }
                self.columns.push(Column { name, value });
            }
            AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
                for name in column_names {
                    match self.find(&folded(&name)) {
                        Ok(place) => {
                            let column = self.columns.remove(place);
                            self.changes.push(SchemaChange::Remove(column.name));
                        }
                        Err(_) if if_exists => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                let place = self.find(&folded(&old_column_name))?;
                let to = folded(&new_column_name);
                if self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(&to)) {
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        format!("`{}` has a column `{to}` already", self.relation),
                    ));
                }
                self.columns[place].name = to;
                self.rewrite = true;
            }
            AlterTableOperation::AlterColumn {
                column_name,
                op: AlterColumnOperation::SetDataType { data_type, using, .. },
            } => {
                let place = self.find(&folded(&column_name))?;
                let column = &mut self.columns[place];
                let value = using.map_or_else(|| column.value.clone(), |using| using.to_string());
                column.value = format!("cast({value} as {data_type})");
                self.rewrite = true;
            }
            // Nothing is enforced and there are no defaults, so there is nothing to be undone.
            AlterTableOperation::AlterColumn {
                op: AlterColumnOperation::DropNotNull | AlterColumnOperation::DropDefault,
                ..
            }
            | AlterTableOperation::DropConstraint { .. }
            | AlterTableOperation::OwnerTo { .. }
            | AlterTableOperation::ClusterBy { .. } => {}
            AlterTableOperation::AddConstraint { constraint, .. } => {
                self.conditions.extend(constraint::conditions(names, self.relation, &constraint)?);
            }
            AlterTableOperation::AlterColumn {
                column_name,
                op: AlterColumnOperation::SetNotNull,
            } => {
                self.find(&folded(&column_name))?;
                self.conditions.push(constraint::not_null(self.relation, &column_name));
            }
            // How it is stored is the lake's own.
            AlterTableOperation::SetOptionsParens { .. } => {}
            other => {
                return Err(unsupported(&format!("`alter table … {other}`").to_lowercase(), ""));
            }
        }
        Ok(())
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

/// The type that an expression without columns has.
async fn data_type(
    engine: &EmbeddedEngine,
    names: &Names<'_>,
    expression: &str,
) -> Result<DataType> {
    let columns = engine.columns(&format!("select {expression} as x"), names.context).await?;
    columns
        .fields()
        .first()
        .map(|field| field.data_type().clone())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "an expression without a type"))
}

/// `comment on table t is '…'`
pub(crate) fn comment(
    names: &Names<'_>,
    object: CommentObject,
    name: &ObjectName,
    text: Option<String>,
    if_exists: bool,
) -> Result<Statement> {
    let tag = "COMMENT".to_owned();
    // An empty text takes the comment away, as in PostgreSQL.
    let text = text.filter(|text| !text.is_empty());
    let (relation, column) = match object {
        CommentObject::Table | CommentObject::View | CommentObject::MaterializedView => {
            (names.relation(name)?, None)
        }
        CommentObject::Column => {
            let mut parts = name.0.clone();
            let Some(ObjectNamePart::Identifier(column)) = parts.pop() else {
                return Err(Error::new(ErrorKind::Query, "the column needs a name"));
            };
            if parts.is_empty() {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("write the table before the column: `t.{column}`"),
                ));
            }
            (names.relation(&ObjectName(parts))?, Some(column))
        }
        // There is nowhere to keep the others, and nothing depends on them.
        _ => return Ok(Statement::Nothing { tag }),
    };
    let column = match (names.existing(&relation), column) {
        (None, _) if if_exists => return Ok(Statement::Nothing { tag }),
        (None, _) => return Err(names.missing(&relation)),
        (Some(Existing::Table(schema)), Some(column)) => {
            Some(column_of(&schema, &column, &relation)?)
        }
        (Some(Existing::View), Some(column)) => match names.context.snapshot.get(&relation) {
            Some(view) => Some(column_of(&view.schema, &column, &relation)?),
            None => Some(folded(&column)),
        },
        (Some(_), None) => None,
    };
    let changes = vec![SchemaChange::Comment { column, text }];
    Ok(Statement::Change { tag, relation, changes })
}
