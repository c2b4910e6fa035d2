//! Values for columns of tables that are there.

use tidemill_core::arrow_schema::DataType;

/// SQL for a value of the type `found`, where it is known, as one of a column's type. A number with a
/// fraction is rounded for a column of whole numbers, as SQL does it, and not cut.
pub fn cast(value: &str, found: Option<&DataType>, target: &DataType) -> String {
    let rounds = found.is_some_and(|found| found.is_numeric() && !found.is_integer());
    match target {
        DataType::Int16 if rounds => format!("cast({value} as smallint)"),
        DataType::Int32 if rounds => format!("cast({value} as integer)"),
        DataType::Int64 if rounds => format!("cast({value} as bigint)"),
        _ => format!("arrow_cast({value}, '{target}')"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_rounded_for_whole_numbers() {
        let decimal = DataType::Decimal128(10, 2);
        for (found, target, sql) in [
            (Some(&decimal), DataType::Int64, "cast(v as bigint)"),
            (Some(&DataType::Float64), DataType::Int32, "cast(v as integer)"),
            (Some(&DataType::Int32), DataType::Int64, "arrow_cast(v, 'Int64')"),
            (Some(&DataType::Utf8), DataType::Int64, "arrow_cast(v, 'Int64')"),
            (None, DataType::Utf8, "arrow_cast(v, 'Utf8')"),
        ] {
            assert_eq!(cast("v", found, &target), sql);
        }
    }
}
