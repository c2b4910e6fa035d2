//! Partition values as text, by the rule of the Delta protocol ("Partition Value Serialization").

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

/// The text of one value; `None` is NULL. An empty text is NULL to every Delta reader, so it is
/// written as one.
pub(crate) fn format_partition(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.6f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
    match array.data_type() {
        DataType::Binary | DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a table cannot be partitioned by a column of this type",
            )
            .with("type", array.data_type()));
        }
        _ => {}
    }
    let text = ArrayFormatter::try_new(array.as_ref(), &options)
        .and_then(|formatter| formatter.value(row).try_to_string())
        .or_error(ErrorKind::Data, "a partition value cannot be written")?;
    Ok((!text.is_empty()).then_some(text))
}

/// The value of a text.
pub(crate) fn parse_partition(text: Option<&str>, data_type: &DataType) -> Result<ScalarValue> {
    let null = || {
        ScalarValue::try_from(data_type)
            .or_error(ErrorKind::Unsupported, "a partition column has a type without values")
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else { return null() };
    let broken = || {
        Error::new(ErrorKind::Data, "a partition value does not fit its column's type")
            .with("value", text)
            .with("type", data_type)
    };
    if matches!(data_type, DataType::Utf8) {
        return Ok(ScalarValue::Utf8(Some(text.to_owned())));
    }
    // Timestamps come with a space or as ISO 8601 with a zone; the cast knows both.
    let source: ArrayRef = std::sync::Arc::new(StringArray::from(vec![text]));
    let target = match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    };
    let options = CastOptions { safe: false, ..Default::default() };
    let array = arrow::compute::cast_with_options(&source, &target, &options)
        .map_err(|error| broken().because(error))?;
    ScalarValue::try_from_array(&array, 0).map_err(|error| broken().because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (scalar, text) in [
            (ScalarValue::Utf8(Some("a/b %20=ü".into())), Some("a/b %20=ü")),
            (ScalarValue::Utf8(None), None),
            (ScalarValue::Int64(Some(-7)), Some("-7")),
            (ScalarValue::Boolean(Some(true)), Some("true")),
            (ScalarValue::Date32(Some(19_000)), Some("2022-01-08")),
            (ScalarValue::Decimal128(Some(-150), 10, 2), Some("-1.50")),
            (
                ScalarValue::TimestampMicrosecond(Some(1_641_600_000_000_001), None),
                Some("2022-01-08 00:00:00.000001"),
            ),
            (
                ScalarValue::TimestampMicrosecond(Some(1_641_600_000_000_001), Some("UTC".into())),
                Some("2022-01-08 00:00:00.000001"),
            ),
        ] {
            let written = format_partition(&scalar.to_array().unwrap(), 0).unwrap();
            assert_eq!(written.as_deref(), text);
            let data_type = scalar.data_type();
            assert_eq!(parse_partition(text, &data_type).unwrap(), scalar);
        }
        assert_eq!(
            parse_partition(Some("2022-01-08T00:00:00.000001Z"), &utc).unwrap(),
            ScalarValue::TimestampMicrosecond(Some(1_641_600_000_000_001), Some("UTC".into()))
        );
        assert!(parse_partition(Some("x"), &DataType::Int64).is_err());
    }
}
