//! `update`, `delete`, `merge` and changes of columns: a table gets other rows. Where its files are
//! known, only those that hold rows that change are written again.

use tidemill_core::{
    Error, ErrorKind, QueryContext, RelationName, Result, RewriteByFile, StatementOutcome,
    WriteMode,
};

use super::{StatementSession, done};
use crate::by_file;

/// What [`tidemill_core::Statement::Rewrite`] says.
pub(super) struct Rewrite {
    pub(super) tag: String,
    pub(super) relation: RelationName,
    pub(super) rows: String,
    pub(super) concerned: Option<String>,
    pub(super) once: Option<(String, String)>,
    pub(super) by_file: Option<Box<RewriteByFile>>,
}

impl StatementSession {
    pub(super) async fn rewrite(&self, rewrite: Rewrite) -> Result<StatementOutcome> {
        let context = self.context();
        // What is staged only is written as a whole.
        if let Some(change) = &rewrite.by_file
            && !self.is_held(&rewrite.relation)
            && let Some(count) = self.rewrite_files(&rewrite.relation, change, &context).await?
        {
            return Ok(done(rewrite.tag, Some(count)));
        }
        let Rewrite { tag, relation, rows, concerned, once, .. } = rewrite;
        let mut count = None;
        if let Some(concerned) = concerned {
            let number = self.number(&concerned, &context).await?;
            if number == 0 {
                return Ok(done(tag, Some(0)));
            }
            count = Some(number);
        }
        if let Some((pairs, rows)) = once
            && self.number(&pairs, &context).await? != self.number(&rows, &context).await?
        {
            return Err(several(&relation));
        }
        let staged = self.stage_again(&relation, &rows).await?;
        self.settle(staged, false).await?;
        Ok(done(tag, count))
    }

    /// Gives how many rows were changed; `None` when the table has to be written as a whole.
    async fn rewrite_files(
        &self,
        relation: &RelationName,
        change: &RewriteByFile,
        context: &QueryContext,
    ) -> Result<Option<u64>> {
        let (engine, store) = (&*self.engine, &*self.store);
        let found = by_file::touched(engine, store, relation, change, context).await?;
        let Some(touched) = found else { return Ok(None) };
        let mut count = touched.counts.iter().sum();
        if let Some(added) = &change.added {
            count += self.number(added, context).await?;
        }
        if count == 0 {
            return Ok(Some(0));
        }
        if let (Some(once), Some(meant)) = (&change.once, touched.counts.first())
            && self.number(once, &touched.context).await? != *meant
        {
            return Err(several(relation));
        }
        let mode = WriteMode::ReplaceFiles { files: touched.files };
        let staged =
            self.stage_in(relation, mode, &change.rows, Vec::new(), touched.context).await?;
        self.settle(staged, false).await?;
        Ok(Some(count))
    }
}

fn several(relation: &RelationName) -> Error {
    Error::new(
        ErrorKind::Data,
        "several rows of the source match one row of the table; make the source have one row for \
         each key",
    )
    .with("relation", relation)
}
