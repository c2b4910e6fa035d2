//! The columns of a source against the columns of the table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_core::{Error, ErrorKind, Notice, Result, ResultExt};

use crate::SchemaContract;

/// A value that does not fit is an error, never a NULL.
const STRICT: CastOptions<'static> =
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
    for field in table.fields() {
        let Ok(at) = source.index_of(field.name()) else {
            fields.push(Arc::clone(field));
            columns.push(None);
            continue;
        };
        let offered = source.field(at).data_type();
        columns.push(Some(at));
        if offered == field.data_type() || contract != SchemaContract::Evolve {
            fields.push(Arc::clone(field));
            continue;
        }
        changes = true;
        fields.push(Arc::new(field.as_ref().clone().with_data_type(offered.clone())));
    }
    let new: Vec<usize> = (0..source.fields().len())
        .filter(|at| table.field_with_name(source.field(*at).name()).is_err())
        .collect();
    if contract == SchemaContract::Freeze && !new.is_empty() {
        let names: Vec<String> =
            new.iter().map(|at| format!("`{}`", source.field(*at).name())).collect();
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "new {} {}, and `schema_contract` is `freeze`; set `evolve` to add, or `discard` \
                 to leave out",
                if names.len() == 1 { "column" } else { "columns" },
                names.join(", ")
            ),
        ));
    }
    for at in new {
        let field = &source.fields()[at];
        if contract == SchemaContract::Discard {
            let message = "is left out, as `schema_contract: discard` says";
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
        let evolve = conform(&source, Some(&table), SchemaContract::Evolve).unwrap();
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
        let discard = conform(&source, Some(&table), SchemaContract::Discard).unwrap();
        assert_eq!(names(&discard), ["a", "b"]);
        assert_eq!(discard.schema.field(0).data_type(), &DataType::Int64);
        let error = conform(&source, Some(&table), SchemaContract::Freeze).unwrap_err();
        assert!(error.message().contains("`c`"), "{error}");
        assert_eq!(names(&conform(&source, None, SchemaContract::Freeze).unwrap()), ["c", "a"]);
    }

    #[test]
    fn missing_columns_are_null() {
        let table = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
        let source = schema(&[("a", DataType::Int64)]);
        let conform = conform(&source, Some(&table), SchemaContract::Freeze).unwrap();
        let batch =
            RecordBatch::try_new(source, vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap();
        let batch = conform.apply(&batch).unwrap();
        assert_eq!(batch.column(1).null_count(), 2);
        assert!(!conform.changes);
    }
}
