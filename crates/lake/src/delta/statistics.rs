//! What is known of a data file without opening it: rows, and for each column its bounds and its
//! NULLs. Written from the Parquet footer into `add.stats`, read back for pruning and planning.

use std::collections::HashMap;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde::Deserialize;
use serde_json::Value;

/// Columns beyond this many have no bounds: a log line must not outgrow its use.
const COLUMNS: usize = 100;

/// Longer texts are cut by whoever wrote the statistics, so they are bounds but not values.
const EXACT_TEXT: usize = 30;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FileStatistics {
    pub rows: Option<u64>,
    pub columns: HashMap<String, Bounds>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Bounds {
    /// No value is below it.
    pub min: Option<ScalarValue>,
    /// No value is above it.
    pub max: Option<ScalarValue>,
    pub nulls: Option<u64>,
    /// Whether the bounds are values of the file themselves.
    pub exact: bool,
}

impl FileStatistics {
    /// Of a file that was just written, from its footer.
    pub(crate) fn from_parquet(metadata: &ParquetMetaData, schema: &Schema) -> Self {
        let mut statistics = FileStatistics {
            rows: Some(metadata.file_metadata().num_rows().unsigned_abs()),
            columns: HashMap::new(),
        };
        let groups = metadata.row_groups();
        let parquet_schema = metadata.file_metadata().schema_descr();
        for field in schema.fields().iter().take(COLUMNS) {
            if field.data_type().is_nested() {
                continue;
            }
            let Ok(converter) = StatisticsConverter::try_new(field.name(), schema, parquet_schema)
            else {
                continue;
            };
            let Ok(nulls) = converter.row_group_null_counts(groups) else { continue };
            let mut bounds = Bounds {
                nulls: (nulls.null_count() == 0).then(|| nulls.values().iter().sum()),
                exact: true,
                ..Bounds::default()
            };
            if has_order(field.data_type())
                && let (Ok(mins), Ok(maxes)) =
                    (converter.row_group_mins(groups), converter.row_group_maxes(groups))
            {
                // A group without bounds is fine when it has only NULLs.
                let complete = groups.iter().enumerate().all(|(index, group)| {
                    (mins.is_valid(index) && maxes.is_valid(index))
                        || (nulls.is_valid(index)
                            && nulls.value(index) == group.num_rows().unsigned_abs())
                });
                if complete {
                    bounds.min = extreme(&mins, std::cmp::Ordering::Less);
                    bounds.max = extreme(&maxes, std::cmp::Ordering::Greater);
                    let exact = |flags: parquet::errors::Result<arrow::array::BooleanArray>| {
                        flags.is_ok_and(|flags| flags.iter().all(|flag| flag != Some(false)))
                    };
                    bounds.exact = exact(converter.row_group_is_min_value_exact(groups))
                        && exact(converter.row_group_is_max_value_exact(groups));
                }
            }
            statistics.columns.insert(field.name().clone(), bounds);
        }
        statistics
    }

    /// The text of `add.stats`.
    pub(crate) fn to_json(&self, schema: &Schema) -> String {
        let mut minimum = String::new();
        let mut maximum = String::new();
        let mut nulls = String::new();
        let append = |text: &mut String, name: &str, value: &str| {
            if !text.is_empty() {
                text.push(',');
            }
            let _ = write!(text, "{}:{value}", Value::from(name));
        };
        for field in schema.fields() {
            let Some(bounds) = self.columns.get(field.name()) else { continue };
            // A lone bound is of little use and confuses some readers.
            if let (Some(min), Some(max)) =
                (bounds.min.as_ref().and_then(json_text), bounds.max.as_ref().and_then(json_text))
            {
                append(&mut minimum, field.name(), &min);
                append(&mut maximum, field.name(), &max);
            }
            if let Some(count) = bounds.nulls {
                append(&mut nulls, field.name(), &count.to_string());
            }
        }
        format!(
            r#"{{"numRecords":{},"minValues":{{{minimum}}},"maxValues":{{{maximum}}},"nullCount":{{{nulls}}}}}"#,
            self.rows.unwrap_or_default()
        )
    }

    /// Reads `add.stats`. What cannot be read is not known. `ours`: we wrote it, so that bounds
    /// are as precise as the type; others cut timestamps to milliseconds.
    pub(crate) fn from_json(text: Option<&str>, schema: &Schema, ours: bool) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Stats {
            num_records: Option<i64>,
            min_values: HashMap<String, Value>,
            max_values: HashMap<String, Value>,
            null_count: HashMap<String, Value>,
        }
        let Some(stats) = text.and_then(|text| serde_json::from_str::<Stats>(text).ok()) else {
            return FileStatistics::default();
        };
        let mut columns = HashMap::new();
        for field in schema.fields() {
            let name = field.name();
            let data_type = field.data_type();
            let mut bounds = Bounds {
                nulls: stats.null_count.get(name).and_then(Value::as_u64),
                exact: ours,
                ..Bounds::default()
            };
            if has_order(data_type) {
                let read = |values: &HashMap<String, Value>| {
                    values.get(name).and_then(|value| scalar(value, data_type))
                };
                bounds.min = read(&stats.min_values);
                bounds.max = read(&stats.max_values);
                match (&mut bounds.max, data_type) {
                    (Some(ScalarValue::TimestampMicrosecond(Some(max), _)), _) if !ours => {
                        *max = max.saturating_add(1000);
                    }
                    (Some(ScalarValue::Utf8(Some(max))), _) => {
                        bounds.exact &= max.len() < EXACT_TEXT;
                    }
                    (_, DataType::Float32 | DataType::Float64) => bounds.exact = false,
                    _ => {}
                }
                if let Some(ScalarValue::Utf8(Some(min))) = &bounds.min {
                    bounds.exact &= min.len() < EXACT_TEXT;
                }
            }
            if bounds.min.is_some() || bounds.max.is_some() || bounds.nulls.is_some() {
                columns.insert(name.clone(), bounds);
            }
        }
        FileStatistics { rows: stats.num_records.and_then(|rows| rows.try_into().ok()), columns }
    }
}

/// Types whose order is the same for Parquet, Delta and Arrow.
fn has_order(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Utf8
            | DataType::Date32
            | DataType::Decimal128(_, _)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

fn extreme(values: &ArrayRef, wanted: std::cmp::Ordering) -> Option<ScalarValue> {
    let mut best: Option<ScalarValue> = None;
    for index in 0..values.len() {
        if values.is_null(index) {
            continue;
        }
        let value = ScalarValue::try_from_array(values, index).ok()?;
        if best.as_ref().is_none_or(|best| value.partial_cmp(best) == Some(wanted)) {
            best = Some(value);
        }
    }
    best
}

fn json_text(value: &ScalarValue) -> Option<String> {
    Some(match value {
        ScalarValue::Int8(Some(value)) => value.to_string(),
        ScalarValue::Int16(Some(value)) => value.to_string(),
        ScalarValue::Int32(Some(value)) => value.to_string(),
        ScalarValue::Int64(Some(value)) => value.to_string(),
        ScalarValue::Float32(Some(value)) if value.is_finite() => {
            serde_json::to_string(&f64::from(*value)).ok()?
        }
        ScalarValue::Float64(Some(value)) if value.is_finite() => {
            serde_json::to_string(value).ok()?
        }
        ScalarValue::Utf8(Some(value)) => serde_json::to_string(value).ok()?,
        ScalarValue::Date32(Some(days)) => format!("\"{}\"", date_text(*days)?),
        ScalarValue::Decimal128(Some(value), _, scale) => {
            // Other readers take it through a double: only what survives that is a bound for them.
            if value.unsigned_abs() >= 1 << 53 {
                return None;
            }
            decimal_text(*value, *scale)
        }
        ScalarValue::TimestampMicrosecond(Some(value), zone) => {
            let time = chrono::DateTime::from_timestamp_micros(*value)?;
            let suffix = if zone.is_some() { "Z" } else { "" };
            format!("\"{}{suffix}\"", time.format("%Y-%m-%dT%H:%M:%S%.6f"))
        }
        _ => return None,
    })
}

fn date_text(days: i32) -> Option<String> {
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let date = epoch.checked_add_signed(chrono::TimeDelta::try_days(days.into())?)?;
    Some(date.format("%Y-%m-%d").to_string())
}

fn decimal_text(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn scalar(value: &Value, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Int8 => ScalarValue::Int8(Some(value.as_i64()?.try_into().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(value.as_i64()?.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.as_i64()?.try_into().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.as_i64()?)),
        DataType::Float32 => ScalarValue::Float32(Some(value.as_f64()? as f32)),
        DataType::Float64 => ScalarValue::Float64(Some(value.as_f64()?)),
        DataType::Utf8 => ScalarValue::Utf8(Some(value.as_str()?.to_owned())),
        DataType::Date32 => {
            let date = chrono::NaiveDate::parse_from_str(value.as_str()?, "%Y-%m-%d").ok()?;
            let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?;
            ScalarValue::Date32(Some((date - epoch).num_days().try_into().ok()?))
        }
        DataType::Decimal128(precision, scale) => {
            let unscaled = match value.as_i64() {
                Some(whole) => {
                    i128::from(whole).checked_mul(10i128.checked_pow((*scale).try_into().ok()?)?)?
                }
                None => {
                    let unscaled = (value.as_f64()? * 10f64.powi((*scale).into())).round();
                    // Beyond this a double does not hold the digits.
                    if unscaled.abs() >= 9_007_199_254_740_992.0 {
                        return None;
                    }
                    unscaled as i128
                }
            };
            ScalarValue::Decimal128(Some(unscaled), *precision, *scale)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let text = value.as_str()?;
            let micros = match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(time) => time.timestamp_micros(),
                Err(_) => chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
                    .ok()?
                    .and_utc()
                    .timestamp_micros(),
            };
            ScalarValue::TimestampMicrosecond(Some(micros), zone.clone())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;

    #[test]
    fn bounds_come_back_as_they_were() {
        let utc = || Some(std::sync::Arc::from("UTC"));
        let cases = [
            (ScalarValue::Int64(Some(i64::MIN)), ScalarValue::Int64(Some(i64::MAX))),
            (ScalarValue::Float64(Some(-0.1)), ScalarValue::Float64(Some(1e300))),
            (ScalarValue::Utf8(Some("a\"\n".into())), ScalarValue::Utf8(Some("ü".into()))),
            (ScalarValue::Date32(Some(-1)), ScalarValue::Date32(Some(20_000))),
            (
                ScalarValue::Decimal128(Some(-5), 15, 2),
                ScalarValue::Decimal128(Some(123_456_789_012_345), 15, 2),
            ),
            (
                ScalarValue::TimestampMicrosecond(Some(-1), utc()),
                ScalarValue::TimestampMicrosecond(Some(1_700_000_000_123_456), utc()),
            ),
            (
                ScalarValue::TimestampMicrosecond(Some(0), None),
                ScalarValue::TimestampMicrosecond(Some(1), None),
            ),
        ];
        for (min, max) in cases {
            let schema = Schema::new(vec![Field::new("c \"x\"", min.data_type(), true)]);
            let bounds = Bounds { min: Some(min), max: Some(max), nulls: Some(3), exact: true };
            let statistics = FileStatistics {
                rows: Some(10),
                columns: HashMap::from([("c \"x\"".to_owned(), bounds.clone())]),
            };
            let text = statistics.to_json(&schema);
            let read = FileStatistics::from_json(Some(&text), &schema, true);
            let column = &read.columns["c \"x\""];
            assert_eq!((&column.min, &column.max), (&bounds.min, &bounds.max), "{text}");
            assert_eq!((read.rows, column.nulls), (Some(10), Some(3)));
        }
    }

    #[test]
    fn times_of_other_engines_are_cut_to_milliseconds() {
        let schema = Schema::new(vec![Field::new(
            "t",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        )]);
        let text = r#"{"numRecords":1,"minValues":{"t":"2024-01-01T00:00:00.001Z"},"maxValues":{"t":"2024-01-01T00:00:00.001Z"},"nullCount":{"t":0}}"#;
        let read = FileStatistics::from_json(Some(text), &schema, false);
        let column = &read.columns["t"];
        assert!(!column.exact);
        assert!(column.max > column.min);
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        for text in [None, Some(""), Some("{}"), Some(r#"{"minValues":{"a":"x"}}"#)] {
            let read = FileStatistics::from_json(text, &schema, true);
            assert_eq!(read, FileStatistics::default());
        }
    }
}
