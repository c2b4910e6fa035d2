//! Changes that are old enough (`keep`) go.

use tidemill_core::{At, Result, TableStore};
use tidemill_ingest::changes;

use crate::loader::ProjectLoader;
use crate::session::{Session, Stores};

/// Deletes the changes that are applied and were kept as long as declared, of each table that says so. What goes
/// wrong is told and spoils nothing.
pub(crate) async fn changes(session: &Session, stores: &Stores) {
    if let Err(error) = of_all(session, stores).await {
        session.output.say(format!("note: old changes: {}", error.report()));
    }
}

async fn of_all(session: &Session, stores: &Stores) -> Result<()> {
    let loader = ProjectLoader::new(session, stores.lake.clone());
    let manifest = session.manifest();
    let sources = manifest.sources.values();
    for source in sources.filter(|source| !source.companions().is_empty()) {
        let Some(keep) = loader.settings(&source.unique_id)?.keep else { continue };
        let snapshot = stores.lake.snapshot(At::Now).await?;
        let relation = source.relation();
        let Some(number) = changes::expired(&snapshot, &relation, keep)? else { continue };
        let statements = session.statements(stores, snapshot);
        let table = changes::changes_relation(&relation).quoted();
        let deleted =
            statements.run(&format!("delete from {table} where _change_number <= {number}")).await;
        statements.close().await;
        deleted?;
    }
    Ok(())
}
