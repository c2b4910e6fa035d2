//! `positional join` of DuckDB: the first row of one side beside the first of the other, and so on.
//!
//! ```sql
//! t positional join p
//! (select *, row_number() over () as "n1" from t) as t full join
//!     (select *, row_number() over () as "n2" from p) as p on t."n1" = p."n2"
//! ```
//!
//! The rows of a side are in the order in which they are read: such a query is planned without parts that
//! are worked on side by side (see [`PLACE`]).

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Select, SelectItem, TableAlias, TableFactor,
    TableWithJoins, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use tidemill_core::{Result, SqlDialect};

use super::asof::leave_out;
use super::refused;
use super::rules::template;
use super::spoken::said;
use super::turned::{keyword, text};
use crate::names::relation_name;
use crate::syntax::{call, equals, select_from};

/// What the columns are called by which the rows are counted.
pub(crate) const PLACE: &str = "tidemill place";

/// `positional join` in the words of a join that DuckDB does not have.
pub(super) fn marked(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if let Token::Word(word) = &tokens[place].token
            && word.quote_style.is_none()
            && word.value.eq_ignore_ascii_case("positional")
            && let Some(join) = said(tokens, place + 1)
            && keyword(&tokens[join]) == Some(Keyword::JOIN)
        {
            let words = text("cross apply", &tokens[place]);
            tokens.splice(place..=join, words);
        }
        place += 1;
    }
}

/// Puts joins on the number of the row in the place of those that are marked.
///
/// # Errors
/// One behind a join of another kind.
pub(super) fn settle(select: &mut Select) -> Result<()> {
    let Select { from, projection, .. } = select;
    let mut number = 0;
    for table in from {
        if !table.joins.iter().any(|join| join.join_operator == JoinOperator::CrossApply) {
            continue;
        }
        if table.joins.iter().any(|join| join.join_operator != JoinOperator::CrossApply) {
            return Err(refused(
                "`positional join` beside a join of another kind",
                "put one of them into a subquery",
            ));
        }
        let mut reached = counted(&mut table.relation, projection, &mut number)?;
        for join in &mut table.joins {
            let own = counted(&mut join.relation, projection, &mut number)?;
            join.join_operator =
                JoinOperator::FullOuter(JoinConstraint::On(equals(reached.clone(), own.clone())));
            reached = call("coalesce", vec![reached, own]);
        }
    }
    Ok(())
}

/// Counts the rows of a relation; gives the column that holds their numbers.
fn counted(
    factor: &mut TableFactor,
    projection: &mut [SelectItem],
    number: &mut usize,
) -> Result<Expr> {
    let name = relation_name(factor);
    let column = Ident::with_quote('"', format!("{PLACE} {number}"));
    let alias = name.unwrap_or_else(|| Ident::with_quote('"', format!("tidemill side {number}")));
    *number += 1;
    let items = vec![
        SelectItem::Wildcard(WildcardAdditionalOptions::default()),
        SelectItem::ExprWithAlias {
            expr: template("row_number() over ()", &[], SqlDialect::DuckDb)?,
            alias: column.clone(),
        },
    ];
    let from = TableWithJoins { relation: factor.clone(), joins: Vec::new() };
    *factor = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(select_from(items, vec![from], None)),
        alias: Some(TableAlias {
            explicit: true,
            name: alias.clone(),
            columns: Vec::new(),
            at: None,
        }),
        sample: None,
    };
    for item in projection {
        leave_out(item, Some(&alias), std::slice::from_ref(&column));
    }
    Ok(Expr::CompoundIdentifier(vec![alias, column]))
}
