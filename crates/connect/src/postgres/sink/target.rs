//! The table that is there.

use arrow::datatypes::{FieldRef, Schema};
use tidemill_core::{Delivery, Error, ErrorKind, Result};
use tokio_postgres::{Client, Row};

use super::columns::{self, Column};
use super::statements::Names;
use crate::delivery::{Misplaced, no_unique_index, required};
use crate::postgres::{catalog, error};

/// A table that rows are delivered to.
pub(super) struct Target {
    pub(super) columns: Vec<Column>,
    /// The columns of each unique index that a conflict can be found by, sorted.
    unique: Vec<Vec<String>>,
    /// Why another table cannot take its place without something being lost.
    pub(super) kept_by: Option<String>,
}

/// What it is, its unique indexes, and what would be lost with it.
const TABLE: &str = "
with t as (select c.*, array[c.reltype, (select typarray from pg_catalog.pg_type where oid = c.reltype)] as types
    from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass($1))
select relkind::text,
    array(select (select string_agg(a.attname::text, E'\\n' order by a.attname::text collate \"C\") from pg_catalog.pg_attribute a
            where a.attrelid = t.oid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
        from pg_catalog.pg_index i where i.indrelid = t.oid and i.indisunique and i.indisvalid and i.indimmediate
            and i.indpred is null and i.indexprs is null),
    case
    when relkind <> 'r' or relispartition or exists (select from pg_catalog.pg_inherits where t.oid in (inhrelid, inhparent))
        then 'partitions or tables that inherit'
    when relowner <> (select oid from pg_catalog.pg_roles where rolname = current_user) then 'another owner'
    when relrowsecurity then 'row-level security'
    when exists (select from pg_catalog.pg_trigger where tgrelid = t.oid and not tgisinternal) then 'triggers'
    when exists (select from pg_catalog.pg_constraint where t.oid in (conrelid, confrelid)
        and (contype in ('f', 'x') or condeferrable)) then 'foreign keys or deferrable constraints'
    when exists (select from pg_catalog.pg_publication_rel where prrelid = t.oid) then 'a publication'
    when exists (select from pg_catalog.pg_depend where refobjid = t.oid
        and classid in ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass)) then 'views or functions'
    when exists (select from pg_catalog.pg_depend where refobjid = any (types) and deptype <> 'i'
        and refclassid = 'pg_type'::regclass) then 'functions or columns of its type'
    when exists (select from pg_catalog.pg_depend d join pg_catalog.pg_class s on s.oid = d.objid
        where d.refobjid = t.oid and d.classid = 'pg_class'::regclass and s.relkind = 'S') then 'sequences'
    when exists (select from pg_catalog.pg_depend where objid = t.oid and deptype = 'e') then 'an extension'
    when exists (select from pg_catalog.pg_statistic_ext where stxrelid = t.oid) then 'extended statistics'
    when exists (select from pg_catalog.pg_seclabel where objoid = t.oid) then 'security labels'
    when exists (select from pg_catalog.pg_attribute where attrelid = t.oid and attnum > 0
        and (attacl is not null or coalesce(nullif(attstattarget, -1), -1) <> -1)) then 'rights or statistics of columns'
    when relpersistence <> 'p' or reltablespace <> 0 or reloptions is not null or relreplident <> 'd'
        or exists (select from pg_catalog.pg_index where indrelid = t.oid and (indisclustered or not indisvalid))
        then 'settings of its storage'
    end
from t";

/// The columns of a table.
pub(crate) const COLUMNS: &str = "
select a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), b.typname::text,
    case when b.typcategory = 'A' then i.typname::text end,
    case t.typtype when 'd' then t.typtypmod else a.atttypmod end,
    a.attgenerated <> '' or a.attidentity = 'a', a.attnotnull and not a.atthasdef and a.attidentity = ''
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_type b on b.oid = case t.typtype when 'd' then t.typbasetype else t.oid end
left join pg_catalog.pg_type i on i.oid = b.typelem
where a.attrelid = pg_catalog.to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum";

fn column(row: &Row) -> Result<Column, tokio_postgres::Error> {
    Ok(Column {
        name: row.try_get(0)?,
        sql: row.try_get(1)?,
        base: row.try_get(2)?,
        item: row.try_get(3)?,
        modifier: row.try_get(4)?,
        generated: row.try_get(5)?,
        required: row.try_get(6)?,
    })
}

impl Target {
    pub(super) async fn find(client: &Client, names: &Names) -> Result<Option<Target>> {
        let rows = catalog::ask(client, TABLE, &[&names.target]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let wrong = error::of_connection;
        let kind: &str = row.try_get(0).map_err(wrong)?;
        if !matches!(kind, "r" | "p") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} is not a table, and only tables are written to", names.target),
            ));
        }
        let unique: Vec<String> = row.try_get(1).map_err(wrong)?;
        let kept_by = row.try_get(2).map_err(wrong)?;
        let columns = catalog::ask(client, COLUMNS, &[&names.target]).await?;
        Ok(Some(Target {
            columns: columns.iter().map(column).collect::<Result<_, _>>().map_err(wrong)?,
            unique: unique
                .iter()
                .map(|columns| columns.split('\n').map(str::to_owned).collect())
                .collect(),
            kept_by,
        }))
    }

    /// The column of this name.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that have to have a value and that the rows do not have.
    pub(super) fn required(&self, schema: &Schema) -> Vec<String> {
        let columns = self.columns.iter().map(|column| (column.name.as_str(), column.required));
        required(columns, |name| schema.index_of(name).is_ok())
    }

    /// Whether the rows have a place in it; the columns that are to be added for them.
    pub(super) fn check(
        &self,
        schema: &Schema,
        delivery: &Delivery,
        names: &Names,
    ) -> Result<Vec<FieldRef>> {
        let mut misplaced = Misplaced::of(delivery);
        for field in schema.fields() {
            let name = field.name();
            match self.column(name) {
                None => misplaced.missing(field, &columns::word(field)),
                Some(column) if column.generated => misplaced.generated(name),
                Some(column) if !columns::fits(field.data_type(), column) => {
                    misplaced.wrong(name, &columns::word(field), &column.sql);
                }
                Some(_) => {}
            }
        }
        let added = misplaced.check(&names.target)?;
        let key = delivery.mode.key();
        if !key.is_empty() && !self.unique.contains(&sorted(key)) {
            let list: Vec<String> = key.iter().map(|name| catalog::quoted(name)).collect();
            let help = format!("create unique index on {} ({})", names.target, list.join(", "));
            return Err(no_unique_index(&names.target, key, help));
        }
        Ok(added)
    }
}

fn sorted(key: &[String]) -> Vec<String> {
    let mut key = key.to_vec();
    key.sort();
    key
}
