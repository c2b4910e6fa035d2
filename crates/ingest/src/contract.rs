//! The columns of a source against the columns of the table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_core::{Error, ErrorKind, Notice, Result, ResultExt, STORED_TYPE};

use crate::{Policy, SchemaContract};

/// A value that does not fit is an error, never a NULL.
pub(crate) const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// How batches of a source become batches for the table.
#[derive(Debug)]
pub(crate) struct Conform {
    /// The columns of the table after the load.
    pub(crate) schema: SchemaRef,
    /// For each of them the source's column, if it has one.
    columns: Vec<Option<usize>>,
    pub(crate) notices: Vec<Notice>,
    /// Whether the table gets columns or types that it does not have.
    pub(crate) changes: bool,
}

/// Applies the contract. Without a table everything is accepted.
pub(crate) fn conform(
    source: &SchemaRef,
    table: Option<&SchemaRef>,
    contract: SchemaContract,
) -> Result<Conform> {
    let Some(table) = table else {
        return Ok(Conform {
            schema: Arc::clone(source),
            columns: (0..source.fields().len()).map(Some).collect(),
            notices: Vec::new(),
            changes: true,
        });
    };
    let mut notices = Vec::new();
    let mut changes = false;
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns = Vec::new();
    let mut changed = Vec::new();
    for field in table.fields() {
        let Ok(at) = source.index_of(field.name()) else {
            fields.push(Arc::clone(field));
            columns.push(None);
            continue;
        };
        let offered = source.field(at).data_type();
        columns.push(Some(at));
        // That a text is JSON is said of tables of before, too.
        let named = match source.field(at).metadata().get(STORED_TYPE) {
            Some(kind)
                if field.metadata().get(STORED_TYPE) != Some(kind)
                    && offered == field.data_type() =>
            {
                changes = true;
                let mut named = field.as_ref().clone();
                named.metadata_mut().insert(STORED_TYPE.to_owned(), kind.clone());
                Arc::new(named)
            }
            _ => Arc::clone(field),
        };
        let field = &named;
        if contract.types == Policy::Freeze && !fits(offered, field.data_type()) {
            changed.push(format!(
                "`{}` is {} now, and {} in the table",
                field.name(),
                type_name(offered),
                type_name(field.data_type())
            ));
        }
        if offered == field.data_type() || contract.types != Policy::Evolve {
            fields.push(Arc::clone(field));
            continue;
        }
        changes = true;
        fields.push(Arc::new(field.as_ref().clone().with_data_type(offered.clone())));
    }
    let new: Vec<usize> = (0..source.fields().len())
        .filter(|at| table.field_with_name(source.field(*at).name()).is_err())
        .collect();
    let frozen = if contract.columns == Policy::Freeze { new.as_slice() } else { &[] };
    let frozen: Vec<&str> = frozen.iter().map(|at| source.field(*at).name().as_str()).collect();
    refuse(&frozen, &changed)?;
    for at in new {
        let field = &source.fields()[at];
        if contract.columns == Policy::Discard {
            let message = "is left out, as `schema_contract` says";
            notices.push(notice("dropped-column", field.name(), message.to_owned()));
            continue;
        }
        changes = true;
        notices.push(notice(
            "new-column",
            field.name(),
            format!("is a new column, {}", type_name(field.data_type())),
        ));
        fields.push(Arc::clone(field));
        columns.push(Some(at));
    }
    Ok(Conform { schema: Arc::new(Schema::new(fields)), columns, notices, changes })
}

impl Conform {
    /// What became of the types of the table's columns, as the store decided.
    pub(crate) fn type_notices(&self, table: &Schema, staged: &Schema) -> Vec<Notice> {
        let mut notices = Vec::new();
        for field in table.fields() {
            let Ok(now) = staged.field_with_name(field.name()) else { continue };
            let Ok(offered) = self.schema.field_with_name(field.name()) else { continue };
            let (was, now, offered) = (field.data_type(), now.data_type(), offered.data_type());
            let (code, text) = if !now.equals_datatype(was) {
                let text = format!("is {} from now on; it was {}", type_name(now), type_name(was));
                ("widened-column", text)
            } else if !offered.equals_datatype(was) && type_name(offered) != type_name(was) {
                let text = format!(
                    "stays {} in the table, and new values, read as {}, are converted to that; \
                     --full-refresh builds the table again",
                    type_name(was),
                    type_name(offered)
                );
                ("kept-type", text)
            } else {
                continue;
            };
            notices.push(notice(code, field.name(), text));
        }
        notices
    }

    /// The number of the table's column for each of the source's.
    pub(crate) fn places(&self) -> Vec<Option<usize>> {
        let count = self.columns.iter().flatten().max().map_or(0, |last| last + 1);
        let place = |at| self.columns.iter().position(|column| *column == Some(at));
        (0..count).map(place).collect()
    }

    /// The batch with the table's columns.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(&self.columns)
            .map(|(field, at)| match at {
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Some(at) if batch.column(*at).data_type() == field.data_type() => {
                    Ok(Arc::clone(batch.column(*at)))
                }
                Some(at) => cast_with_options(batch.column(*at), field.data_type(), &STRICT)
                    .or_error(ErrorKind::Data, "a column cannot be read as its type")
                    .map_err(|error| error.with("column", field.name())),
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .or_error(ErrorKind::Internal, "a batch does not have the columns of its schema")
    }
}

/// An error when there are columns that are new, or of another type, where they are frozen.
fn refuse(new: &[&str], changed: &[String]) -> Result<()> {
    let mut problems = Vec::new();
    if !new.is_empty() {
        let names: Vec<String> = new.iter().map(|name| format!("`{name}`")).collect();
        problems.push(format!(
            "new {} {}, and `schema_contract` freezes columns; set `{{columns: evolve}}` to add, or \
             `{{columns: discard}}` to leave out",
            if names.len() == 1 { "column" } else { "columns" },
            names.join(", ")
        ));
    }
    if !changed.is_empty() {
        problems.push(format!(
            "{}, and `schema_contract` freezes types; set `{{types: evolve}}` to make the column wider, or \
             `{{types: discard}}` to reject rows with values that do not fit",
            changed.join("; ")
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Data, problems.join("\n"))),
    }
}

/// Whether every value of a type has a place in a column of another one.
fn fits(offered: &DataType, table: &DataType) -> bool {
    use DataType::{
        Date32, Decimal128, Dictionary, Float32, Float64, LargeList, LargeUtf8, List, Null, Struct,
        Timestamp, Utf8, Utf8View,
    };
    match (offered, table) {
        _ if offered.equals_datatype(table) => true,
        // A text column takes what there is, and one of nothing but NULL says nothing.
        (Null, _) | (_, Null | Utf8 | LargeUtf8 | Utf8View) => true,
        (Dictionary(_, values), _) => fits(values, table),
        (_, Decimal128(precision, scale)) => match offered {
            Decimal128(digits, places) => {
                places <= scale
                    && i16::from(*digits) - i16::from(*places)
                        <= i16::from(*precision) - i16::from(*scale)
            }
            _ => bits(offered).is_some_and(|bits| {
                // Decimal digits of the largest number.
                (bits * 30103).div_ceil(100_000) as i16 <= i16::from(*precision) - i16::from(*scale)
            }),
        },
        (Float32, Float64) | (Date32, Timestamp(_, None)) => true,
        (Timestamp(_, one), Timestamp(_, other)) => one.is_some() == other.is_some(),
        (List(one) | LargeList(one), List(other) | LargeList(other)) => {
            fits(one.data_type(), other.data_type())
        }
        (Struct(one), Struct(other)) => one.iter().all(|field| {
            let there = other.iter().find(|there| there.name() == field.name());
            there.is_some_and(|there| fits(field.data_type(), there.data_type()))
        }),
        (_, Float64) => bits(offered).is_some_and(|bits| bits <= 53),
        (_, Float32) => bits(offered).is_some_and(|bits| bits <= 24),
        _ => match (bits(offered), bits(table)) {
            (Some(bits), Some(most)) => bits <= most,
            _ => offered.is_binary() && table.is_binary(),
        },
    }
}

/// How many bits a number of an integer type has, without its sign.
fn bits(data_type: &DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Int8 => 7,
        DataType::UInt8 => 8,
        DataType::Int16 => 15,
        DataType::UInt16 => 16,
        DataType::Int32 => 31,
        DataType::UInt32 => 32,
        DataType::Int64 => 63,
        DataType::UInt64 => 64,
        _ => return None,
    })
}

/// A notice about a column: the sentence is its name and what follows.
fn notice(code: &str, column: &str, predicate: String) -> Notice {
    Notice {
        code: code.to_owned(),
        message: format!("column `{column}` {predicate}"),
        object: Some(column.to_owned()),
    }
}

/// The type as SQL calls it.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary => "bytea",
        DataType::Decimal128(precision, scale) => return format!("decimal({precision},{scale})"),
        DataType::Struct(_) => "struct",
        DataType::List(_) => "list",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
        let fields: Vec<Field> =
            fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        Arc::new(Schema::new(fields))
    }

    fn names(conform: &Conform) -> Vec<&str> {
        conform.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    #[test]
    fn policies() {
        let table = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
        let source = schema(&[("c", DataType::Boolean), ("a", DataType::Float64)]);
        let evolve = conform(&source, Some(&table), Policy::Evolve.into()).unwrap();
        assert_eq!(names(&evolve), ["a", "b", "c"]);
        assert_eq!(evolve.schema.field(0).data_type(), &DataType::Float64);
        let codes = |notices: &[Notice]| -> Vec<String> {
            notices.iter().map(|notice| notice.code.clone()).collect()
        };
        assert_eq!(codes(&evolve.notices), ["new-column"]);
        assert_eq!(codes(&evolve.type_notices(&table, &evolve.schema)), ["widened-column"]);
        // The store did not make it what was offered.
        let kept = evolve.type_notices(&table, &table);
        assert_eq!(codes(&kept), ["kept-type"]);
        assert!(kept[0].message.contains("stays bigint"), "{}", kept[0].message);
        let discard = conform(&source, Some(&table), Policy::Discard.into()).unwrap();
        assert_eq!(names(&discard), ["a", "b"]);
        assert_eq!(discard.schema.field(0).data_type(), &DataType::Int64);
        let error = conform(&source, Some(&table), Policy::Freeze.into()).unwrap_err();
        assert!(error.message().contains("`c`"), "{error}");
        assert_eq!(names(&conform(&source, None, Policy::Freeze.into()).unwrap()), ["c", "a"]);
        // Columns and types apart.
        let both = schema(&[("a", DataType::Float64), ("b", DataType::Int64)]);
        let frozen = SchemaContract { columns: Policy::Evolve, types: Policy::Freeze };
        let error = conform(&both, Some(&table), frozen).unwrap_err();
        assert!(error.message().contains("`a` is double now, and bigint in the table"), "{error}");
        assert!(!error.message().contains("`b`"), "{error}");
        let left = SchemaContract { columns: Policy::Discard, types: Policy::Evolve };
        let left = conform(&source, Some(&table), left).unwrap();
        assert_eq!(
            (names(&left), left.schema.field(0).data_type()),
            (vec!["a", "b"], &DataType::Float64)
        );
    }

    #[test]
    fn types_that_fit_are_no_drift() {
        use DataType::{Date32, Decimal128, Float64, Int16, Int32, Int64, Timestamp, UInt64, Utf8};
        let micros = |zone: Option<&str>| {
            Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone.map(Into::into))
        };
        for (offered, table, expected) in [
            (Int16, Int64, true),
            (Int64, Int32, false),
            (UInt64, Int64, false),
            (Int32, Float64, true),
            (Int64, Float64, false),
            (Float64, Int64, false),
            (Int64, Utf8, true),
            (Utf8, Int64, false),
            (Date32, micros(None), true),
            (micros(None), micros(Some("UTC")), false),
            (Decimal128(9, 2), Decimal128(12, 2), true),
            (Decimal128(9, 3), Decimal128(12, 2), false),
            (Int32, Decimal128(12, 2), true),
            (Int64, Decimal128(12, 2), false),
        ] {
            assert_eq!(fits(&offered, &table), expected, "{offered} in {table}");
        }
    }

    #[test]
    fn missing_columns_are_null() {
        let table = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
        let source = schema(&[("a", DataType::Int64)]);
        let conform = conform(&source, Some(&table), Policy::Freeze.into()).unwrap();
        let batch =
            RecordBatch::try_new(source, vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap();
        let batch = conform.apply(&batch).unwrap();
        assert_eq!(batch.column(1).null_count(), 2);
        assert!(!conform.changes);
    }
}
