//! What one SQL statement asks for, as plain values: the engine reads the text, whoever has the
//! lake performs it.

use crate::{RelationName, SchemaChange};

/// One statement, decided against one state of the lake: names are resolved, columns are known, and
/// what is there already (or is not) was looked at. Performing it means running the queries in it
/// and handing their rows to the [`crate::TableStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// It only reads: [`crate::Engine::query`] runs it.
    Query,
    /// There is nothing to be done (`begin`, `create schema`, `drop table if exists` of none).
    Nothing {
        /// What it was, for example `BEGIN`.
        tag: String,
    },
    /// A table is made from a query's rows. Whatever has its name is replaced.
    CreateTable {
        /// The table.
        relation: RelationName,
        /// The query.
        rows: String,
        /// Whether it goes with the session that makes it.
        temporary: bool,
        /// Descriptions of columns.
        comments: Vec<(String, String)>,
    },
    /// A view is made or replaced.
    CreateView {
        /// The view.
        relation: RelationName,
        /// Its query.
        sql: String,
        /// Whether it goes with the session that makes it.
        temporary: bool,
    },
    /// Relations are removed.
    Drop {
        /// For example `DROP TABLE`.
        tag: String,
        /// Which.
        relations: Vec<RelationName>,
    },
    /// Rows are added.
    Insert {
        /// The table.
        relation: RelationName,
        /// A query that gives them, with the table's columns in its order and types.
        rows: String,
    },
    /// A table gets other rows (`update`, `delete`, `merge`).
    Rewrite {
        /// For example `UPDATE`.
        tag: String,
        /// The table.
        relation: RelationName,
        /// A query that gives all rows that the table has afterwards.
        rows: String,
        /// A query that gives one number: how many rows it concerns. None: nothing is written.
        concerned: Option<String>,
        /// Two queries that give one number each, the same one: otherwise one row would be changed
        /// by several others.
        once: Option<(String, String)>,
        /// The same for a store that knows in which file each row is: only files with rows that
        /// change are written again. `None`: it has to be decided over all rows at once.
        by_file: Option<Box<RewriteByFile>>,
    },
    /// Tables lose all of their rows.
    Truncate {
        /// Which.
        relations: Vec<RelationName>,
    },
    /// A relation gets another name.
    Rename {
        /// For example `ALTER TABLE`.
        tag: String,
        /// Its name until now.
        relation: RelationName,
        /// Its name from now on.
        to: RelationName,
    },
    /// A table gets other columns, or comments.
    Change {
        /// For example `ALTER TABLE` or `COMMENT`.
        tag: String,
        /// The table, or for comments alone a view.
        relation: RelationName,
        /// What changes.
        changes: Vec<SchemaChange>,
    },
    /// Holds constraints against the rows of a table that is there, once.
    Verify {
        /// What to answer.
        tag: String,
        /// The table.
        relation: RelationName,
        /// Queries that give one number, which is zero where the constraint holds, with what to say
        /// where it is not.
        conditions: Vec<(String, String)>,
    },
    /// Privileges are given or taken. They are recorded with the relations.
    Grant {
        /// Whether they are taken.
        revoke: bool,
        /// On which relations.
        relations: Vec<RelationName>,
        /// Which, in lower case: `select`, `insert`, `all`.
        privileges: Vec<String>,
        /// To whom.
        grantees: Vec<String>,
    },
}

/// How the files of a table that hold rows that change are found, and what takes their place. The
/// queries name tables that are not in the lake: [`RewriteByFile::all`] and [`RewriteByFile::part`],
/// which who performs the statement has made visible to them ([`crate::TableStore::by_file`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteByFile {
    /// Stands for the whole table, with the column [`crate::FILE`].
    pub all: RelationName,
    /// Stands for the rows of the files that are written again.
    pub part: RelationName,
    /// Queries that give files and how many times a row of theirs is changed.
    pub touched: Vec<String>,
    /// A query that gives one number: how many rows are added.
    pub added: Option<String>,
    /// A query that gives one number: how many rows the first of `touched` means. It has to be the
    /// sum of what that counts, otherwise one row would be changed by several others.
    pub once: Option<String>,
    /// A query that gives the rows that take the place of those of the part, and those that are
    /// added.
    pub rows: String,
}

impl RewriteByFile {
    /// Names for [`RewriteByFile::all`] and [`RewriteByFile::part`] of a table, which no relation of
    /// the lake has.
    pub fn names(relation: &RelationName) -> (RelationName, RelationName) {
        let hidden = |what: &str| {
            let name = format!("{HIDDEN}{what}_of_{}", relation.name());
            RelationName::new(relation.schema(), name)
        };
        (hidden("files"), hidden("part"))
    }

    /// Whether a relation is one of those: it is not listed among the others.
    pub fn is_hidden(relation: &RelationName) -> bool {
        relation.name().starts_with(HIDDEN)
    }
}

const HIDDEN: &str = "__tidemill_";

impl Statement {
    /// The relations that it changes.
    pub fn targets(&self) -> Vec<RelationName> {
        match self {
            Statement::Query | Statement::Nothing { .. } | Statement::Verify { .. } => Vec::new(),
            Statement::CreateTable { relation, .. }
            | Statement::CreateView { relation, .. }
            | Statement::Insert { relation, .. }
            | Statement::Rewrite { relation, .. }
            | Statement::Change { relation, .. } => vec![relation.clone()],
            Statement::Rename { relation, to, .. } => vec![relation.clone(), to.clone()],
            Statement::Drop { relations, .. }
            | Statement::Truncate { relations }
            | Statement::Grant { relations, .. } => relations.clone(),
        }
    }

    /// Whether performing it can change the lake.
    pub fn writes(&self) -> bool {
        !matches!(self, Statement::Query | Statement::Nothing { .. } | Statement::Verify { .. })
    }
}
