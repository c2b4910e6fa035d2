//! Tables of what a database says of their columns.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use tidemill_core::TableDescription;

/// A column, as a database lists it.
pub(crate) struct Listed {
    pub(crate) table: String,
    /// How many rows the table has, about.
    pub(crate) rows: Option<u64>,
    pub(crate) field: Field,
    /// Its place in the primary key.
    pub(crate) place: Option<u32>,
}

/// The tables of these columns, which stand together by their tables.
pub(crate) fn described(columns: impl IntoIterator<Item = Listed>) -> Vec<TableDescription> {
    type Open = (TableDescription, Vec<Field>, Vec<(u32, String)>);
    let mut tables: Vec<Open> = Vec::new();
    for column in columns {
        if tables.last().is_none_or(|(last, ..)| last.name != column.table) {
            let described = TableDescription {
                name: column.table,
                schema: None,
                rows: column.rows,
                estimated: true,
                primary_key: Vec::new(),
            };
            tables.push((described, Vec::new(), Vec::new()));
        }
        let Some((_, fields, key)) = tables.last_mut() else { continue };
        key.extend(column.place.map(|place| (place, column.field.name().clone())));
        fields.push(column.field);
    }
    let finish = |(mut table, fields, mut key): Open| {
        key.sort();
        table.schema = Some(Arc::new(Schema::new(fields)));
        table.primary_key = key.into_iter().map(|(_, column)| column).collect();
        table
    };
    tables.into_iter().map(finish).collect()
}
