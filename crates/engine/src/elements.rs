//! `unnest(a) as x` of BigQuery, in `from`: the items of an array, whose fields are columns where they are
//! structs.
//!
//! ```sql
//! select (select value.int_value from unnest(params) where key = 'id') from t
//! select id, item.name, item from t, unnest(items) as item with offset as place
//! ```
//!
//! Only the planner knows what an array holds. So the translation writes a function, [`ELEMENTS`], of the
//! array, the name that the items have, that of their places, and whether the items are read as a whole; and
//! here the planner is told what relation that is.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{
    Column, DFSchema, DataFusionError, NullHandling, Result, UnnestOptions, plan_datafusion_err,
};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as Written, FunctionArg, FunctionArgExpr, TableFactor, Value,
};

/// The function of a translation: an array, the name of its items, that of their places, and `whole` where
/// the items are read as such beside their fields (`star` where all columns are, too).
pub(crate) const ELEMENTS: &str = "tidemill_elements";

/// What an item is called that has no name.
const NAMELESS: &str = "f0_";

/// Tells the planner what [`ELEMENTS`] gives.
#[derive(Debug)]
pub(crate) struct Elements;

impl RelationPlanner for Elements {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::Function { name, args, alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if name.to_string() != ELEMENTS {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let Some((list, words)) = arguments(args) else {
            return Err(DataFusionError::Plan(format!("`{ELEMENTS}` is no function of a query")));
        };
        let [item, place, whole] = words;
        let nothing = DFSchema::empty();
        let list = context.sql_expr_to_logical_expr(list, &nothing)?;
        let kept = list.get_type(&nothing)?;
        let (DataType::List(held) | DataType::LargeList(held) | DataType::FixedSizeList(held, _)) =
            &kept
        else {
            return Err(plan_datafusion_err!("`unnest` takes an array"));
        };
        let (items, places) = ("tidemill items", "tidemill places");
        let mut lists = vec![list.clone().alias(items)];
        let mut columns = vec![Column::from_name(items)];
        if !place.is_empty() {
            let counted = context
                .context_provider()
                .get_function_meta("tidemill_places")
                .ok_or_else(|| plan_datafusion_err!("there is no function of places"))?;
            let counted = ScalarFunction::new_udf(counted, vec![lit("0"), list]);
            lists.push(Expr::ScalarFunction(counted).alias(places));
            columns.push(Column::from_name(places));
        }
        let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
        let one = Expr::Column(Column::from_name(items));
        let called = if item.is_empty() { NAMELESS } else { &item };
        let mut given = match held.data_type() {
            DataType::Struct(fields) => {
                let mut given: Vec<Expr> = fields
                    .iter()
                    .map(|field| get_field(one.clone(), field.name().as_str()).alias(field.name()))
                    .collect();
                if whole == "star" {
                    return Err(plan_datafusion_err!(
                        "`*` beside the whole item `{called}` of an array is not supported; name the columns"
                    ));
                }
                // A field of that name is what the name means.
                if whole == "whole" && fields.find(called).is_none() {
                    given.push(one.alias(called));
                }
                given
            }
            _ => vec![one.alias(called)],
        };
        if !place.is_empty() {
            given.push(Expr::Column(Column::from_name(places)).alias(place));
        }
        let plan = LogicalPlanBuilder::empty(true)
            .project(lists)?
            .unnest_columns_with_options(columns, options)?
            .project(given)?
            .build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

/// The array, and the three words.
fn arguments(args: &[FunctionArg]) -> Option<(Written, [String; 3])> {
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let word = |arg: &FunctionArg| match plain(arg)? {
        Written::Value(value) => match value.value {
            Value::SingleQuotedString(word) => Some(word),
            _ => None,
        },
        _ => None,
    };
    let [list, item, place, whole] = args else { return None };
    Some((plain(list)?, [word(item)?, word(place)?, word(whole)?]))
}

/// What plans relations of a text that only the engine knows.
pub(crate) fn planners() -> Vec<Arc<dyn RelationPlanner>> {
    vec![Arc::new(Elements)]
}
