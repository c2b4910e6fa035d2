//! `now()` and its relatives: the time of the query, the same everywhere in it, in microseconds (a
//! nanosecond type would end in 2262 and could not be compared with an "until 9999").

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::TimeZone;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Clock::new("now", vec!["current_timestamp".to_owned()], true).into(),
        Clock::new("localtimestamp", Vec::new(), false).into(),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Clock {
    name: &'static str,
    aliases: Vec<String>,
    with_zone: bool,
    signature: Signature,
}

impl Clock {
    fn new(name: &'static str, aliases: Vec<String>, with_zone: bool) -> Self {
        Clock { name, aliases, with_zone, signature: Signature::nullary(Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let zone: Option<Arc<str>> = self.with_zone.then(|| "UTC".into());
        Ok(DataType::Timestamp(TimeUnit::Microsecond, zone))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} was not replaced by its value", self.name)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = info.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let zone = info.config_options().execution.time_zone.clone();
        let value = if self.with_zone {
            ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), Some("UTC".into()))
        } else {
            let zone: chrono_tz::Tz =
                zone.as_deref().unwrap_or("UTC").parse().unwrap_or(chrono_tz::UTC);
            let local = zone.from_utc_datetime(&now.naive_utc()).naive_local();
            ScalarValue::TimestampMicrosecond(Some(local.and_utc().timestamp_micros()), None)
        };
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, None)))
    }
}
