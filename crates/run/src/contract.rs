//! What a model's rows must keep to, measured on what was staged before it is published.

use futures::StreamExt;
use std::sync::Arc;
use tidemill_core::{Error, ErrorKind, Measure, OverlayEntry, QueryContext, Result, Staged};
use tidemill_plan::WorkNode;

use crate::executor::Shared;

/// A query in the columns and types of its contract, and what its rows must keep to.
#[derive(Debug, Clone)]
pub struct Contracted {
    /// The query.
    pub sql: String,
    /// What its rows must keep to.
    pub constraints: Vec<Rule>,
}

/// What every row must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// How messages name it: `not_null on id`, `check positive`.
    pub name: String,
    /// What is measured.
    pub kind: RuleKind,
}

/// What a rule measures. Columns are names, not expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// No NULL in this column.
    NotNull(String),
    /// No combination of these columns twice; one with a NULL does not count.
    Unique(Vec<String>),
    /// This SQL condition is not false.
    Check(String),
    /// Every combination without a NULL occurs in the columns of another relation.
    ForeignKey {
        /// The columns.
        columns: Vec<String>,
        /// The other relation as SQL names it.
        relation: String,
        /// The columns there.
        referenced: Vec<String>,
    },
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl RuleKind {
    fn measure(&self, relation: &str) -> Measure {
        match self {
            RuleKind::NotNull(column) => {
                Measure::Nulls { expression: quoted(column), filter: None }
            }
            RuleKind::Unique(columns) => Measure::Duplicates {
                expressions: columns.iter().map(|column| quoted(column)).collect(),
                ignore_nulls: true,
                filter: None,
            },
            RuleKind::Check(condition) => {
                Measure::CountIf { predicate: format!("not ({condition})"), filter: None }
            }
            RuleKind::ForeignKey { .. } => Measure::Query {
                sql: format!("select count(*) from ({}) as orphans", self.bad_rows(relation)),
            },
        }
    }

    /// The rows that break it.
    fn bad_rows(&self, relation: &str) -> String {
        match self {
            RuleKind::NotNull(column) => {
                format!("select * from {relation} where {} is null", quoted(column))
            }
            RuleKind::Unique(columns) => {
                let names: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
                let present: Vec<String> =
                    names.iter().map(|name| format!("{name} is not null")).collect();
                format!(
                    "select {names}, count(*) as \"rows\" from {relation} where {} group by {names} having count(*) > 1",
                    present.join(" and "),
                    names = names.join(", "),
                )
            }
            RuleKind::Check(condition) => {
                format!("select * from {relation} where not ({condition})")
            }
            RuleKind::ForeignKey { columns, relation: other, referenced } => {
                let present: Vec<String> = columns
                    .iter()
                    .map(|column| format!("t.{} is not null", quoted(column)))
                    .collect();
                let same: Vec<String> = columns
                    .iter()
                    .zip(referenced)
                    .map(|(own, other)| format!("r.{} = t.{}", quoted(other), quoted(own)))
                    .collect();
                format!(
                    "select t.* from {relation} as t where {} and not exists (select 1 from {other} as r where {})",
                    present.join(" and "),
                    same.join(" and "),
                )
            }
        }
    }
}

/// How many rows an error shows of each rule.
const SHOWN: usize = 3;

impl Shared {
    /// Measures the rules on the state that a stage would make, or on the one that is there.
    ///
    /// # Errors
    /// `Data` with each broken rule, how many rows (or values) break it, and the first of them.
    pub(crate) async fn keep_to(
        &self,
        node: &WorkNode,
        rules: &[Rule],
        staged: Option<&Arc<Staged>>,
        context: &QueryContext,
    ) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let overlay = match staged {
            Some(staged) => {
                context.overlay.with(node.relation.clone(), OverlayEntry::Staged(staged.clone()))
            }
            None => context.overlay.clone(),
        };
        let context = QueryContext { overlay, ..context.clone() };
        let relation = node.relation.quoted();
        let measures: Vec<Measure> =
            rules.iter().map(|rule| rule.kind.measure(&relation)).collect();
        let found = self.doers.engine.measure(&node.relation, &measures, &context).await?;
        let mut broken = Vec::new();
        for (rule, measured) in rules.iter().zip(found) {
            let count = measured.map_err(|error| error.with("constraint", &rule.name))?.as_f64();
            if count == 0.0 {
                continue;
            }
            let what = match (&rule.kind, count == 1.0) {
                (RuleKind::Unique(_), true) => "value more than once",
                (RuleKind::Unique(_), false) => "values more than once",
                (_, true) => "row",
                (_, false) => "rows",
            };
            let mut text = format!("{}: {count} {what}", rule.name);
            for line in self.first_rows(&rule.kind.bad_rows(&relation), &context).await {
                text.push_str(&format!("\n    {line}"));
            }
            broken.push(text);
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Data,
            format!("the rows break constraints of the contract:\n  {}", broken.join("\n  ")),
        ))
    }

    async fn first_rows(&self, sql: &str, context: &QueryContext) -> Vec<String> {
        let sql = format!("select * from ({sql}) as broken limit {SHOWN}");
        let Ok(mut stream) = self.doers.engine.query(&sql, context).await else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        while let Some(Ok(batch)) = stream.batches.next().await {
            lines.extend(crate::rows::lines(&batch));
        }
        lines
    }
}
