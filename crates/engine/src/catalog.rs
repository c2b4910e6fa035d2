//! `information_schema` over the state that a query sees.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use tidemill_core::{
    OverlayEntry, QueryContext, RelationKind, RelationName, Result, RewriteByFile,
};

use crate::error::from_datafusion;
use crate::types::sql_name;

/// The schema that is not in the lake.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// One of its tables, or `None` when it has none of this name.
pub(crate) fn information_table(
    table: &str,
    catalog: &str,
    context: &QueryContext,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let visible = visible(context);
    let batch = match table {
        "tables" => tables(&visible, catalog),
        "views" => views(&visible, catalog),
        "columns" => columns(&visible, catalog),
        "schemata" => schemata(&visible, catalog),
        "role_table_grants" | "table_privileges" => grants(context, catalog),
        _ => return Ok(None),
    };
    let table = batch
        .map_err(datafusion::common::DataFusionError::from)
        .and_then(|batch| MemTable::try_new(batch.schema(), vec![vec![batch]]))
        .map_err(|error| from_datafusion(error, None))?;
    Ok(Some(Arc::new(table)))
}

struct Visible {
    name: RelationName,
    view: Option<String>,
    description: Option<String>,
    /// In order.
    columns: Vec<VisibleColumn>,
}

struct VisibleColumn {
    name: String,
    data_type: String,
    description: Option<String>,
}

fn visible(context: &QueryContext) -> Vec<Visible> {
    let describe = |schema: &arrow::datatypes::Schema| {
        schema
            .fields()
            .iter()
            .map(|field| VisibleColumn {
                name: field.name().clone(),
                data_type: sql_name(field.data_type()),
                description: field.metadata().get("comment").cloned(),
            })
            .collect()
    };
    let mut all: Vec<Visible> = context
        .snapshot
        .relations
        .values()
        .filter(|relation| !context.overlay.0.contains_key(&relation.name))
        .map(|relation| Visible {
            name: relation.name.clone(),
            view: match &relation.kind {
                RelationKind::View { sql } => Some(sql.clone()),
                RelationKind::Table { .. } => None,
            },
            description: relation.description().map(str::to_owned),
            columns: describe(&relation.schema),
        })
        .collect();
    let overlay = context.overlay.0.iter();
    for (name, entry) in overlay.filter(|(name, _)| !RewriteByFile::is_hidden(name)) {
        match entry {
            OverlayEntry::Staged(staged) => all.push(Visible {
                name: name.clone(),
                view: None,
                description: None,
                columns: describe(&staged.schema),
            }),
            // The columns of a candidate view are known only when it is planned.
            OverlayEntry::View(sql) => all.push(Visible {
                name: name.clone(),
                view: Some(sql.clone()),
                description: None,
                columns: Vec::new(),
            }),
            OverlayEntry::Absent => {}
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

type Batch = Result<RecordBatch, arrow::error::ArrowError>;

fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Text, or NULL where nothing is described.
fn descriptions<'a>(values: impl Iterator<Item = &'a Option<String>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

fn tables(visible: &[Visible], catalog: &str) -> Batch {
    let kind = |relation: &Visible| if relation.view.is_some() { "VIEW" } else { "BASE TABLE" };
    RecordBatch::try_from_iter([
        ("table_catalog", text(visible.iter().map(|_| catalog))),
        ("table_schema", text(visible.iter().map(|relation| relation.name.schema()))),
        ("table_name", text(visible.iter().map(|relation| relation.name.name()))),
        ("table_type", text(visible.iter().map(kind))),
        ("table_comment", descriptions(visible.iter().map(|relation| &relation.description))),
    ])
}

fn views(visible: &[Visible], catalog: &str) -> Batch {
    let views: Vec<(&RelationName, &str)> = visible
        .iter()
        .filter_map(|relation| Some((&relation.name, relation.view.as_deref()?)))
        .collect();
    RecordBatch::try_from_iter([
        ("table_catalog", text(views.iter().map(|_| catalog))),
        ("table_schema", text(views.iter().map(|(name, _)| name.schema()))),
        ("table_name", text(views.iter().map(|(name, _)| name.name()))),
        ("view_definition", text(views.iter().map(|(_, sql)| *sql))),
    ])
}

fn columns(visible: &[Visible], catalog: &str) -> Batch {
    let rows: Vec<(&RelationName, i32, &VisibleColumn)> = visible
        .iter()
        .flat_map(|relation| {
            (1..)
                .zip(&relation.columns)
                .map(|(position, column)| (&relation.name, position, column))
        })
        .collect();
    let numbers = |of: &dyn Fn(&str) -> Option<i32>| -> ArrayRef {
        Arc::new(Int32Array::from_iter(rows.iter().map(|(.., column)| of(&column.data_type))))
    };
    RecordBatch::try_from_iter([
        ("table_catalog", text(rows.iter().map(|_| catalog))),
        ("table_schema", text(rows.iter().map(|(name, ..)| name.schema()))),
        ("table_name", text(rows.iter().map(|(name, ..)| name.name()))),
        ("column_name", text(rows.iter().map(|(.., column)| column.name.as_str()))),
        (
            "ordinal_position",
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, position, _)| *position))),
        ),
        ("column_default", Arc::new(StringArray::new_null(rows.len()))),
        ("is_nullable", text(rows.iter().map(|_| "YES"))),
        ("data_type", text(rows.iter().map(|(.., column)| column.data_type.as_str()))),
        ("character_maximum_length", Arc::new(Int32Array::new_null(rows.len()))),
        ("numeric_precision", numbers(&|column| digits(column, 0))),
        ("numeric_scale", numbers(&|column| digits(column, 1))),
        ("column_comment", descriptions(rows.iter().map(|(.., column)| &column.description))),
    ])
}

/// The precision (0) or the scale (1) of a type such as `numeric(12,2)`.
fn digits(data_type: &str, which: usize) -> Option<i32> {
    let inner = data_type.strip_prefix("numeric(")?.strip_suffix(')')?;
    inner.split(',').nth(which)?.trim().parse().ok()
}

fn schemata(visible: &[Visible], catalog: &str) -> Batch {
    let mut names: Vec<&str> = visible.iter().map(|relation| relation.name.schema()).collect();
    names.dedup();
    RecordBatch::try_from_iter([
        ("catalog_name", text(names.iter().map(|_| catalog))),
        ("schema_name", text(names.iter().copied())),
    ])
}

/// Who may do what with a relation, as `grant` and the config `grants` have recorded it.
fn grants(context: &QueryContext, catalog: &str) -> Batch {
    let mut rows: Vec<(&RelationName, &str, String)> = Vec::new();
    for relation in context.snapshot.relations.values() {
        let recorded = relation.record.as_deref().and_then(|record| record.get("grants"));
        for (privilege, names) in
            recorded.and_then(|grants| grants.as_object()).into_iter().flatten()
        {
            for name in names.as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
                rows.push((&relation.name, name, privilege.to_uppercase()));
            }
        }
    }
    RecordBatch::try_from_iter([
        ("grantor", text(rows.iter().map(|_| "tidemill"))),
        ("grantee", text(rows.iter().map(|(_, grantee, _)| *grantee))),
        ("table_catalog", text(rows.iter().map(|_| catalog))),
        ("table_schema", text(rows.iter().map(|(name, ..)| name.schema()))),
        ("table_name", text(rows.iter().map(|(name, ..)| name.name()))),
        ("privilege_type", text(rows.iter().map(|(.., privilege)| privilege.as_str()))),
        ("is_grantable", text(rows.iter().map(|_| "NO"))),
        ("with_hierarchy", text(rows.iter().map(|_| "NO"))),
    ])
}
