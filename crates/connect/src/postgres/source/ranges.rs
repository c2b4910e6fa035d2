//! In which pieces a table is read.

use tidemill_core::Result;
use tokio_postgres::Client;

use crate::postgres::{catalog, error};

/// Pages of one piece: 16 MB in pages of 8 KB. Pieces are handed out in their order, so that rows
/// that lie together in the table lie together in the lake, too.
const PIECE: i64 = 2_048;

/// A table with fewer pages is read at once.
const LEAST: i64 = 2 * PIECE;

/// The version from which on a condition on `ctid` reads only the pages that it names.
const VERSION: i32 = 140_000;

/// What the catalog says of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// It is a table, or a partitioned one: it can be locked.
    pub(super) lockable: bool,
    /// Pages of the table, or of the largest one of those that it is made of; 0 where these are
    /// not all PostgreSQL's own tables on this server.
    pages: i64,
    /// The version of the server.
    pub(super) version: i32,
}

/// All tables that rows of this one may be in.
const QUERY: &str = "
with recursive tree(oid) as (
    select pg_catalog.to_regclass($1)::oid
    union select i.inhrelid from pg_catalog.pg_inherits i join tree on i.inhparent = tree.oid
)
select c.relkind::text,
    c.relkind = 'p' or coalesce(a.amname = 'heap', false),
    coalesce(pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint, 0),
    c.oid = pg_catalog.to_regclass($1)::oid,
    current_setting('server_version_num')::int
from tree join pg_catalog.pg_class c on c.oid = tree.oid
left join pg_catalog.pg_am a on a.oid = c.relam";

pub(super) async fn size(client: &Client, table: &str) -> Result<Size> {
    let mut size = Size::default();
    let mut plain = true;
    for row in catalog::ask(client, QUERY, &[table]).await? {
        let wrong = error::of_connection;
        let kind: &str = row.try_get(0).map_err(wrong)?;
        let heap: bool = row.try_get(1).map_err(wrong)?;
        let pages: i64 = row.try_get(2).map_err(wrong)?;
        let top: bool = row.try_get(3).map_err(wrong)?;
        size.version = row.try_get(4).map_err(wrong)?;
        let table = matches!(kind, "r" | "p");
        size.lockable |= top && table;
        plain &= (table || kind == "m") && heap;
        size.pages = size.pages.max(pages);
    }
    if !plain || size.version < VERSION {
        size.pages = 0;
    }
    Ok(size)
}

impl Size {
    /// The conditions of the pieces, when it is worth to read it in some.
    pub(super) fn pieces(&self) -> Vec<String> {
        if self.pages < LEAST {
            return Vec::new();
        }
        let count = self.pages.div_euclid(PIECE);
        (0..count)
            .map(|number| {
                let from = format!("ctid >= '({},0)'::tid", number * PIECE);
                // The last one has no end: pages may have come since.
                match number + 1 == count {
                    true => from,
                    false => format!("{from} and ctid < '({},0)'::tid", (number + 1) * PIECE),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_table_without_gap_and_end() {
        let pieces = |pages| Size { lockable: true, pages, version: 150_000 }.pieces();
        assert!(pieces(4_095).is_empty());
        assert_eq!(
            pieces(4_097),
            ["ctid >= '(0,0)'::tid and ctid < '(2048,0)'::tid", "ctid >= '(2048,0)'::tid"]
        );
    }
}
