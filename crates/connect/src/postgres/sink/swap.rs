//! Another table in the place of one that is there, with its indexes, rights and description.

use tidemill_core::Result;
use tokio_postgres::Client;

use super::statements::Names;
use crate::postgres::{catalog, error};

/// What makes the next table from one that is there: its columns, defaults and checks. Indexes come
/// after the rows. The lock keeps others from changing the definition meanwhile; readers and writers
/// go on.
pub(super) fn begin(names: &Names) -> String {
    let (next, target) = (names.next(), &names.target);
    format!(
        "lock table {target} in share update exclusive mode; drop table if exists {next}; \
         create table {next} (like {target} including all excluding indexes excluding statistics)"
    )
}

/// Each index: its name, its definition behind the table's name, `unique` or nothing, what
/// constraint it stands for, and its description.
const INDEXES: &str = "
select ic.relname::text, substr(pg_catalog.pg_get_indexdef(i.indexrelid), length(pg_catalog.format('CREATE %sINDEX %I ON %I.%I ',
        case when i.indisunique then 'UNIQUE ' else '' end, ic.relname, n.nspname, c.relname)) + 1),
    case when i.indisunique then 'unique ' else '' end,
    case k.contype when 'p' then 'primary key' when 'u' then 'unique' else '' end,
    pg_catalog.quote_literal(pg_catalog.obj_description(i.indexrelid, 'pg_class'))
from pg_catalog.pg_index i
join pg_catalog.pg_class ic on ic.oid = i.indexrelid
join pg_catalog.pg_class c on c.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.conrelid = c.oid and k.contype in ('p', 'u')
where c.oid = pg_catalog.to_regclass($1) order by 1";

/// Rights that others have: on the next table by default they go, those on the target come.
const RIGHTS: &str = "
select pg_catalog.format('revoke all on table %s from %s', $2, case a.grantee when 0 then 'public'
    else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
where c.oid = pg_catalog.to_regclass($2) and a.grantee <> c.relowner group by a.grantee
union all
select pg_catalog.format('grant %s on table %s to %s%s', a.privilege_type, $2, case a.grantee when 0 then 'public'
    else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' else '' end)
from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
where c.oid = pg_catalog.to_regclass($1) and a.grantee <> c.relowner
union all
select pg_catalog.format('comment on table %s is %L', $2, d)
from pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class') d where d is not null";

/// The statements that finish the next table and let it take the place of the target.
pub(super) async fn end(client: &Client, names: &Names) -> Result<Vec<String>> {
    let (next, target) = (names.next(), names.target.as_str());
    let mut before = Vec::new();
    let mut after = Vec::new();
    let wrong = error::of_connection;
    let indexes = catalog::ask(client, INDEXES, &[target]).await?;
    for (number, row) in indexes.iter().enumerate() {
        let text = |at: usize| row.try_get::<_, &str>(at).map_err(wrong);
        let (bare, qualified) = names.index(number);
        before.push(format!("create {}index {bare} on {next} {}", text(2)?, text(1)?));
        let constraint = text(3)?;
        if !constraint.is_empty() {
            before.push(format!(
                "alter table {next} add constraint {bare} {constraint} using index {bare}"
            ));
        }
        if let Some(comment) = row.try_get::<_, Option<&str>>(4).map_err(wrong)? {
            before.push(format!("comment on index {qualified} is {comment}"));
        }
        let name = catalog::quoted(text(0)?);
        after.push(format!("alter index {qualified} rename to {name}"));
    }
    for row in catalog::ask(client, RIGHTS, &[target, &next]).await? {
        before.push(row.try_get(0).map_err(wrong)?);
    }
    before.push(format!("drop table {target}"));
    before.push(names.rename());
    before.extend(after);
    Ok(before)
}
