//! The tables that there are, from the catalog.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use tidemill_core::{Result, TableDescription};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::columns::written;
use crate::postgres::{ColumnType, Reading, catalog, error};

/// All columns of all relations that can be read, in the order of the tables; a table without columns
/// has one row without. Partitions are read with their table. A domain is the type below it.
const QUERY: &str = "
select n.nspname::text, c.relname::text,
    case when c.relkind = 'p' then (
        select sum(nullif(l.reltuples, -1)) from pg_catalog.pg_partition_tree(c.oid) t
        join pg_catalog.pg_class l on l.oid = t.relid where t.isleaf
    ) when c.relkind in ('r', 'm') and c.reltuples >= 0 then c.reltuples end::float8,
    array(
        select k.attname::text from pg_catalog.pg_index i
        cross join unnest(i.indkey) with ordinality as u(number, place)
        join pg_catalog.pg_attribute k on k.attrelid = c.oid and k.attnum = u.number
        where i.indrelid = c.oid and i.indisprimary order by u.place
    ) as key,
    a.attname::text, coalesce(b.oid, t.oid), case when b.oid is null then a.atttypmod else t.typtypmod end,
    coalesce(b.typcategory, t.typcategory)::text
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_type b on b.oid = nullif(t.typbasetype, 0)
where c.relkind in ('r', 'p', 'f', 'v', 'm') and not c.relispartition
    and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
    and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_any_column_privilege(c.oid, 'select')
order by 1, 2, a.attnum";

pub(super) async fn tables(client: &Client) -> Result<Vec<TableDescription>> {
    let rows = catalog::ask(client, QUERY, &[]).await?;
    let mut tables: Vec<TableDescription> = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    for row in &rows {
        let name = written(&[get(row, 0)?, get(row, 1)?]);
        if tables.last().is_none_or(|table| table.name != name) {
            finish(&mut tables, &mut fields);
            let estimate: Option<f64> = get(row, 2)?;
            tables.push(TableDescription {
                name,
                schema: None,
                rows: estimate.map(|rows| rows as u64),
                estimated: true,
                primary_key: get(row, 3)?,
            });
        }
        let Some(column): Option<&str> = get(row, 4)? else { continue };
        let data_type = data_type(get(row, 5)?, get(row, 6)?, get(row, 7)?);
        fields.push(Field::new(column, data_type, true));
    }
    finish(&mut tables, &mut fields);
    Ok(tables)
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(error::of_connection)
}

fn finish(tables: &mut [TableDescription], fields: &mut Vec<Field>) {
    if let Some(table) = tables.last_mut() {
        table.schema = Some(Arc::new(Schema::new(std::mem::take(fields))));
    }
}

/// As a load reads it; of types that are not PostgreSQL's own the arrays are told apart.
fn data_type(oid: u32, modifier: i32, category: &str) -> DataType {
    match Type::from_oid(oid) {
        Some(kind) => ColumnType::of(&kind, modifier, Reading::Values).encoding.arrow(),
        None if category == "A" => {
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
        }
        None => DataType::Utf8,
    }
}
