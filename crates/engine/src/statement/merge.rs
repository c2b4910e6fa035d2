//! `merge`.
//!
//! The table's new rows are, with *acting* a pair of a target and a source row for which a clause
//! holds: every acting pair that updates; every target row in no acting pair; and every source row
//! without a target row, as the first `not matched` clause that holds inserts it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Merge, MergeAction, MergeClause, MergeClauseKind, MergeInsertExpr,
    MergeInsertKind, ObjectNamePart, TableAlias, TableFactor, visit_expressions_mut,
};
use tidemill_core::{Error, ErrorKind, Result, RewriteByFile, Statement};

use super::by_file::Files;
use super::change::{assignments, value_of};
use super::target::{Names, Target, assigned, column_of, quoted};
use super::unsupported;
use crate::names::{folded, relation_name};

pub(crate) fn merge(names: &Names<'_>, mut merge: Merge) -> Result<Statement> {
    if merge.output.is_some() {
        return Err(unsupported("`returning`", "select the rows afterwards"));
    }
    let target = names.target(&merge.table)?;
    tell_apart(&mut merge, &target);
    let (from, source, on) = (&target.from, &merge.source, &merge.on);
    let matched = clauses(&merge, |kind| kind == MergeClauseKind::Matched);
    let unmatched = clauses(&merge, |kind| {
        matches!(kind, MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget)
    });
    let left = clauses(&merge, |kind| kind == MergeClauseKind::NotMatchedBySource);
    let all = target.all();
    let files = Files::of(&target);
    // Which clause acts on a row: its number from 1, or 0.
    let acting = |clauses: &[&MergeClause]| -> Option<String> {
        (!always(clauses)).then(|| number_of(clauses)).flatten()
    };
    let any = format!("exists (select 1 from {source} where {on})");
    let acts = match acting(&matched) {
        Some(number) => format!("({on}) and {number} > 0"),
        None => format!("({on})"),
    };
    let some = format!("exists (select 1 from {source} where {acts})");
    let changed_by_match = changed(&target, &matched)?;
    let changed_alone = changed(&target, &left)?;

    // The rows that were there, of the whole table or of a part of it.
    let rewritten = |from: &str| -> Vec<String> {
        let mut parts = Vec::new();
        if !matched.is_empty() {
            let pairs = format!("from {from} inner join {source} on {on}");
            if let Some(kept) = kept(&matched) {
                parts.push(format!("select {changed_by_match} {pairs} where {kept}"));
            }
            if left.is_empty() {
                parts.push(format!("select {all} from {from} where not {some}"));
            } else if acting(&matched).is_some() {
                parts.push(format!("select {all} from {from} where {any} and not {some}"));
            }
        } else if left.is_empty() {
            parts.push(format!("select {all} from {from}"));
        } else {
            parts.push(format!("select {all} from {from} where {any}"));
        }
        if !left.is_empty() {
            let number = number_of(&left).unwrap_or_else(|| "1".to_owned());
            let condition = kept(&left).map_or_else(
                || (!always(&left)).then(|| format!("{number} = 0")),
                |kept| Some(if always(&left) { kept } else { format!("({kept} or {number} = 0)") }),
            );
            if let Some(condition) = condition {
                parts.push(format!(
                    "select {changed_alone} from {from} where not {any} and {condition}"
                ));
            }
        }
        parts
    };
    // The pairs and the rows without one that a clause acts on.
    let pairs = |from: &str| format!("from {from} inner join {source} on {on} where {acts}");
    let alone = |from: &str| {
        let number = number_of(&left).unwrap_or_else(|| "1".to_owned());
        format!("from {from} where not {any} and {number} > 0")
    };
    let meant = |from: &str| format!("select count(*) from {from} where {some}");

    let mut inserts = Vec::new();
    let mut added = None;
    if !unmatched.is_empty() {
        let alone = format!("not exists (select 1 from {from} where {on})");
        let number = number_of(&unmatched).unwrap_or_else(|| "1".to_owned());
        for (place, clause) in (1..).zip(&unmatched) {
            let MergeAction::Insert(insert) = &clause.action else {
                return Err(Error::new(ErrorKind::Query, "`when not matched` can only insert"));
            };
            let values = inserted(&target, insert)?;
            inserts.push(format!(
                "select {values} from {source} where {alone} and {number} = {place}"
            ));
        }
        added = Some(format!("select count(*) from {source} where {alone} and {number} > 0"));
    }

    let (mut counts, mut touched, mut once) = (Vec::new(), Vec::new(), None);
    if !matched.is_empty() {
        let count = format!("select count(*) {}", pairs(from));
        once = Some((count.clone(), meant(from)));
        counts.push(count);
        touched.push(files.count(&pairs(&files.from_all)));
    }
    if !left.is_empty() {
        counts.push(format!("select count(*) {}", alone(from)));
        touched.push(files.count(&alone(&files.from_all)));
    }
    counts.extend(added.clone());
    let concerned = counts.iter().map(|count| format!("({count})")).collect::<Vec<_>>();
    let whole: Vec<String> = rewritten(from).into_iter().chain(inserts.clone()).collect();
    // Where rows are only added, none of those that are there is written again.
    let again = if touched.is_empty() { Vec::new() } else { rewritten(&files.from_part) };
    let part: Vec<String> = again.into_iter().chain(inserts).collect();
    let by_file = RewriteByFile {
        touched,
        added,
        once: once.is_some().then(|| meant(&files.from_part)),
        rows: part.join(" union all "),
        all: files.all,
        part: files.part,
    };
    Ok(Statement::Rewrite {
        tag: "MERGE".to_owned(),
        rows: whole.join(" union all "),
        concerned: Some(format!("select {} as \"rows\"", concerned.join(" + "))),
        once,
        by_file: Some(Box::new(by_file)),
        relation: target.relation,
    })
}

/// The name that a source gets whose own is that of a column of the target.
const SOURCE: &str = "merge_source";

/// `merge into t using x as s` where `t` has a column `s`: in a condition that looks for rows of `t`
/// alone, `s.id` would be a part of that column. So the source gets another name.
fn tell_apart(merge: &mut Merge, target: &Target) {
    let Some(name) = relation_name(&merge.source) else { return };
    let name = folded(&name);
    let is_column = target.schema.fields().iter().any(|field| field.name().to_lowercase() == name);
    if !is_column {
        return;
    }
    let (TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. }) = &mut merge.source
    else {
        return;
    };
    let columns = alias.take().map(|alias| alias.columns).unwrap_or_default();
    *alias = Some(TableAlias { explicit: true, name: Ident::new(SOURCE), columns, at: None });
    let mut rename = |expr: &mut Expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [of, _] = parts.as_mut_slice()
            && folded(of) == name
        {
            *of = Ident::new(SOURCE);
        }
        ControlFlow::<()>::Continue(())
    };
    // Neither breaks off.
    let _ = visit_expressions_mut(&mut merge.on, &mut rename);
    let _ = visit_expressions_mut(&mut merge.clauses, &mut rename);
}

fn clauses(merge: &Merge, wanted: impl Fn(MergeClauseKind) -> bool) -> Vec<&MergeClause> {
    merge.clauses.iter().filter(|clause| wanted(clause.clause_kind)).collect()
}

/// Whether one of them holds for every row.
fn always(clauses: &[&MergeClause]) -> bool {
    clauses.iter().any(|clause| clause.predicate.is_none())
}

/// The number of the first clause that holds, from 1; 0 when none does.
fn number_of(clauses: &[&MergeClause]) -> Option<String> {
    if clauses.first()?.predicate.is_none() {
        return Some("1".to_owned());
    }
    let branches: Vec<String> = (1..)
        .zip(clauses)
        .map(|(number, clause)| match &clause.predicate {
            Some(predicate) => format!("when {predicate} then {number}"),
            None => format!("when true then {number}"),
        })
        .collect();
    Some(format!("(case {} else 0 end)", branches.join(" ")))
}

/// The condition of the rows that a clause acts on without deleting them; `None` when all of them
/// are deleted.
fn kept(clauses: &[&MergeClause]) -> Option<String> {
    let staying: Vec<String> = (1..)
        .zip(clauses)
        .filter(|(_, clause)| !matches!(clause.action, MergeAction::Delete { .. }))
        .map(|(number, _): (u32, _)| number.to_string())
        .collect();
    if staying.is_empty() {
        return None;
    }
    Some(format!("{} in ({})", number_of(clauses)?, staying.join(", ")))
}

/// The columns of the target as the clauses make them.
fn changed(target: &Target, clauses: &[&MergeClause]) -> Result<String> {
    let mut updates = Vec::new();
    for clause in clauses {
        let condition =
            clause.predicate.as_ref().map_or_else(|| "true".to_owned(), Expr::to_string);
        match &clause.action {
            MergeAction::Update(update) => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(unsupported("`where` in an update of a merge", "use `when … and`"));
                }
                updates.push((condition, Some(assignments(target, &update.assignments)?)));
            }
            MergeAction::Delete { .. } => updates.push((condition, None)),
            MergeAction::Insert(_) => {
                return Err(Error::new(ErrorKind::Query, "`when matched` cannot insert"));
            }
        }
    }
    Ok(target.select(|column| {
        let concerned = updates
            .iter()
            .any(|(_, values)| values.as_ref().is_some_and(|values| values.contains_key(column)));
        concerned.then(|| {
            let own = target.own(column);
            let branches: Vec<String> = updates
                .iter()
                .map(|(condition, values)| {
                    let value = values.as_ref().and_then(|values| values.get(column));
                    format!("when {condition} then {}", value.unwrap_or(&own))
                })
                .collect();
            format!("case {} else {own} end", branches.join(" "))
        })
    }))
}

/// The columns of a row that is inserted.
fn inserted(target: &Target, insert: &MergeInsertExpr) -> Result<String> {
    if insert.insert_predicate.is_some() {
        return Err(unsupported("`where` in an insert of a merge", "use `when not matched and`"));
    }
    let MergeInsertKind::Values(values) = &insert.kind else {
        return Err(unsupported("`insert row`", "name the columns and their values"));
    };
    let [row] = values.rows.as_slice() else {
        return Err(Error::new(ErrorKind::Query, "a merge inserts one row at a time"));
    };
    let row: Vec<&Expr> = row.iter().collect();
    let columns: Vec<String> = if insert.columns.is_empty() {
        let fields = target.schema.fields().iter().take(row.len());
        fields.map(|field| field.name().clone()).collect()
    } else {
        let mut columns = Vec::new();
        for name in &insert.columns {
            let Some(ObjectNamePart::Identifier(ident)) = name.0.last() else {
                return Err(unsupported(&format!("the column `{name}`"), ""));
            };
            columns.push(column_of(&target.schema, ident, &target.relation)?);
        }
        columns
    };
    if columns.len() != row.len() {
        return Err(Error::new(
            ErrorKind::Query,
            format!("{} columns are named, but {} values are given", columns.len(), row.len()),
        ));
    }
    let list = target.schema.fields().iter().map(|field| {
        let value = match columns.iter().position(|column| column == field.name()) {
            Some(place) => value_of(row[place]),
            None => "null".to_owned(),
        };
        format!("{} as {}", assigned(&value, field.data_type()), quoted(field.name()))
    });
    Ok(list.collect::<Vec<_>>().join(", "))
}
