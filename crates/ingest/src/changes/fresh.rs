//! The view of a table with the changes that are not applied to it yet.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use tidemill_core::{PublishChange, PublishMeta, RelationKind, RelationName};

use super::{
    DELETE, KIND, NUMBER, SNAPSHOT, TRUNCATE, changes_relation, fresh_relation, without_own,
};
use crate::load::LoadSpec;

/// The view of a table that is there and its changes, which have these columns, unless it is there as it
/// should be.
pub(super) fn change(
    spec: &LoadSpec,
    changes: &SchemaRef,
    applied: i64,
    meta: PublishMeta,
) -> Option<PublishChange> {
    let table = spec.base.get(&spec.relation)?;
    let there = spec.base.get(&fresh_relation(&spec.relation));
    match view(spec, &table.schema, changes, applied) {
        PublishChange::View { sql, .. }
            if there.is_some_and(
                |there| matches!(&there.kind, RelationKind::View { sql: before } if *before == sql),
            ) =>
        {
            None
        }
        PublishChange::View { relation, sql, schema, .. } => {
            Some(PublishChange::View { relation, sql, schema, meta })
        }
        _ => None,
    }
}

/// The view of a table with these columns and its changes.
pub(super) fn view(
    spec: &LoadSpec,
    table: &SchemaRef,
    changes: &SchemaRef,
    applied: i64,
) -> PublishChange {
    PublishChange::View {
        relation: fresh_relation(&spec.relation),
        sql: sql(&spec.relation, table, changes, &spec.settings.primary_key, applied),
        schema: columns(table, changes),
        meta: PublishMeta::default(),
    }
}

/// Its columns: those of the table, and those that only its changes have yet.
pub(super) fn columns(table: &SchemaRef, changes: &SchemaRef) -> SchemaRef {
    let own = without_own(changes);
    let new = own.fields().iter().filter(|field| table.field_with_name(field.name()).is_err());
    Arc::new(Schema::new(table.fields().iter().chain(new).cloned().collect::<Vec<_>>()))
}

/// Its query. Changes from `applied` on are looked at: they may be applied by now, as of each key the
/// last change says what the row is in any case.
pub(super) fn sql(
    relation: &RelationName,
    table: &SchemaRef,
    known: &SchemaRef,
    key: &[String],
    applied: i64,
) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let changes = changes_relation(relation).quoted();
    let columns = columns(table, known);
    let list = |of: &str, there: &SchemaRef, other: &str| {
        let value = |name: &String| match there.field_with_name(name) {
            Ok(_) => format!("{of}.{}", quoted(name)),
            // NULL, with the type that the column has where it is there.
            Err(_) => format!("(select {0} from {other} where false) as {0}", quoted(name)),
        };
        let names: Vec<String> = columns.fields().iter().map(|field| value(field.name())).collect();
        names.join(", ")
    };
    let keys = |of: &str, and: &str, other: &str| {
        let one = |name: &String| match other {
            "" => quoted(name),
            other => format!("{of}.{0} = {other}.{0}", quoted(name)),
        };
        key.iter().map(one).collect::<Vec<_>>().join(and)
    };
    format!(
        "with later as (select * from {changes} where {NUMBER} > {applied}),\n\
         mark as (select coalesce(max({NUMBER}), {applied}) as number from later where {KIND} in \
         ('{TRUNCATE}', '{SNAPSHOT}')),\n\
         numbered as (select later.*, row_number() over (partition by {} order by {NUMBER} desc) as \
         _change_rank from later where {NUMBER} > (select number from mark)),\n\
         newest as (select * from numbered where _change_rank = 1)\n\
         select {} from {} as t\n\
         where (select count(*) from later where {KIND} = '{TRUNCATE}' and {NUMBER} = (select number \
         from mark)) = 0\n\
         and not exists (select 1 from newest where {})\n\
         union all\n\
         select {} from newest where {KIND} <> '{DELETE}'",
        keys("", ", ", ""),
        list("t", table, &changes),
        relation.quoted(),
        keys("newest", " and ", "t"),
        list("newest", known, &relation.quoted()),
    )
}
