//! Plans of views, kept from one query to the next.
//!
//! Views of a project read views that read views, and each of its queries would plan all of them again from
//! their texts. The plan of a view rests on its text and on what its names stood for; while these are what they
//! were, the plan is too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::logical_expr::TableSource;
use tidemill_core::{Principal, PublishedRelation, QueryContext, RelationName};

/// With more views than these all are forgotten: plans keep the files of their tables in memory.
const KEPT: usize = 512;

/// What a name stood for.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// Nothing.
    Absent,
    /// A view with this text.
    View(String),
    /// A table. It is kept alive, so a pointer stands for what it points to.
    Published(Arc<PublishedRelation>),
}

impl Seen {
    fn is(&self, other: &Seen) -> bool {
        match (self, other) {
            (Seen::Absent, Seen::Absent) => true,
            (Seen::View(left), Seen::View(right)) => left == right,
            (Seen::Published(left), Seen::Published(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }
}

/// What a plan rests on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    /// Every name that was looked up.
    seen: BTreeMap<RelationName, Seen>,
    /// The relations that are read, views included.
    pub(crate) relations: BTreeSet<RelationName>,
    /// How deeply views read views in it.
    pub(crate) depth: usize,
    /// It rests on more than names: on files, on values, on what is being built.
    more: bool,
}

impl Reads {
    /// A name was looked up; `None`: what it stands for is not to be told apart from its later states.
    pub(crate) fn saw(&mut self, name: &RelationName, seen: Option<Seen>) {
        match seen {
            Some(seen) => drop(self.seen.insert(name.clone(), seen)),
            None => self.more = true,
        }
    }

    /// The plan rests on more than names.
    pub(crate) fn rests_on_more(&mut self) {
        self.more = true;
    }

    /// What a part of it rests on.
    pub(crate) fn include(&mut self, part: &Reads) {
        self.seen.extend(part.seen.iter().map(|(name, seen)| (name.clone(), seen.clone())));
        self.relations.extend(part.relations.iter().cloned());
        self.more |= part.more;
        self.depth = self.depth.max(part.depth);
    }
}

/// A view that was planned, and what its plan rests on.
#[derive(Clone)]
pub(crate) struct PlannedView {
    pub(crate) source: Arc<dyn TableSource>,
    pub(crate) reads: Arc<Reads>,
}

struct Entry {
    sql: String,
    default_schema: String,
    timezone: String,
    principal: Principal,
    view: PlannedView,
}

/// The views that were planned last, by name.
#[derive(Default)]
pub(crate) struct ViewPlans(Mutex<HashMap<RelationName, Arc<Entry>>>);

impl ViewPlans {
    /// Keeps the plan of a view, unless it rests on more than names.
    pub(crate) fn keep(
        &self,
        name: &RelationName,
        sql: &str,
        context: &QueryContext,
        view: &PlannedView,
    ) {
        if view.reads.more {
            return;
        }
        let entry = Entry {
            sql: sql.to_owned(),
            default_schema: context.default_schema.clone(),
            timezone: context.timezone.clone(),
            principal: context.principal.clone(),
            view: view.clone(),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(name.clone(), Arc::new(entry));
    }

    /// The plan of this view, if each name that it rests on stands for what it stood for.
    pub(crate) fn find(
        &self,
        name: &RelationName,
        sql: &str,
        context: &QueryContext,
        now: impl Fn(&RelationName) -> Option<Seen>,
    ) -> Option<PlannedView> {
        let entry = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.clone();
        let same = entry.sql == sql
            && entry.default_schema == context.default_schema
            && entry.timezone == context.timezone
            && entry.principal == context.principal
            && entry
                .view
                .reads
                .seen
                .iter()
                .all(|(name, seen)| now(name).is_some_and(|now| now.is(seen)));
        same.then(|| entry.view.clone())
    }
}
