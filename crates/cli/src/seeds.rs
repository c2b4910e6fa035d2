//! Seeds for the lake: the rows of a file, with the types and values that dbt's reader gives them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use tidemill_core::{
    Change, ChangeStream, ErrorKind, Position, ReadRequest, Result, ResultExt, Source,
    TableDescription,
};

use crate::agate::{Guess, Kind};

/// Rows that are kept between looking at a file and giving them.
const KEPT: usize = 32 << 20;

/// A seed's file. It is read twice (a large one three times): once for the names of its columns, once
/// for what all their values have in common, and once for the rows.
pub(crate) struct SeedSource {
    files: Arc<dyn Source>,
    /// Texts are what DuckDB takes them for when dbt has it copy the file: `null` and blanks are texts.
    for_duckdb: bool,
    /// Names are not quoted, so that blanks around them are none of theirs.
    unquoted: bool,
}

impl SeedSource {
    /// Over the files of the project.
    pub(crate) fn new(files: Arc<dyn Source>, for_duckdb: bool, unquoted: bool) -> Self {
        SeedSource { files, for_duckdb, unquoted }
    }

    /// The request with every column read as text that the project gives no type; `None` where there
    /// is nothing to read, with what the source says then.
    async fn as_texts(
        &self,
        request: &ReadRequest,
    ) -> Result<std::result::Result<ReadRequest, Vec<Change>>> {
        let mut changes = self.files.read(request.clone()).await?;
        let mut said = Vec::new();
        while let Some(change) = changes.next().await {
            let found = match change? {
                Change::Schema(found) | Change::Restart(found) => found,
                other => {
                    said.push(other);
                    continue;
                }
            };
            let column = |field: &Arc<Field>| {
                let data_type = match given(&request.declared, field) {
                    Some(given) => given.data_type().clone(),
                    None => DataType::Utf8,
                };
                Field::new(field.name(), data_type, true)
            };
            let declared = found.fields().iter().map(column).collect();
            return Ok(Ok(ReadRequest { declared, known: None, ..request.clone() }));
        }
        Ok(Err(said))
    }
}

/// What the project declares of a column, by the name that stands in the file (as in dbt, which
/// looks for no other case).
fn given<'a>(declared: &'a [Field], field: &Field) -> Option<&'a Field> {
    declared.iter().find(|given| given.name() == field.name())
}

/// What a look at all rows found.
struct Look {
    /// Everything that was read, unless it is much.
    changes: Option<Vec<Change>>,
    kinds: Vec<Option<Kind>>,
}

/// The types of the columns that are read as texts; the others have one.
async fn look(mut changes: ChangeStream, declared: &[Field]) -> Result<Look> {
    let mut guesses: Vec<Option<Guess>> = Vec::new();
    let (mut kept, mut size) = (Some(Vec::new()), 0);
    while let Some(change) = changes.next().await {
        let change = change?;
        match &change {
            Change::Schema(schema) | Change::Restart(schema) => {
                let guess =
                    |field: &Arc<Field>| given(declared, field).is_none().then_some(Guess::NONE);
                guesses = schema.fields().iter().map(guess).collect();
            }
            Change::Rows(batch) => {
                for (guess, column) in guesses.iter_mut().zip(batch.columns()) {
                    if let (Some(guess), Some(texts)) = (guess, column.as_string_opt::<i32>()) {
                        texts.iter().flatten().for_each(|text| guess.add(text));
                    }
                }
                size += batch.get_array_memory_size();
            }
            _ => {}
        }
        if size > KEPT {
            kept = None;
        }
        if let Some(kept) = &mut kept {
            kept.push(change);
        }
    }
    let kinds = guesses.into_iter().map(|guess| guess.map(Guess::kind)).collect();
    Ok(Look { changes: kept, kinds })
}

/// The columns with their types.
fn typed(schema: &SchemaRef, kinds: &[Option<Kind>]) -> SchemaRef {
    let field = |(index, field): (usize, &Arc<Field>)| match kinds.get(index).copied().flatten() {
        Some(kind) => field.as_ref().clone().with_data_type(kind.data_type()).with_nullable(true),
        None => field.as_ref().clone(),
    };
    let fields: Vec<Field> = schema.fields().iter().enumerate().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// What the source says, with the values that dbt takes.
fn converted(change: Change, kinds: &[Option<Kind>], for_duckdb: bool) -> Result<Change> {
    Ok(match change {
        Change::Schema(schema) => Change::Schema(typed(&schema, kinds)),
        Change::Restart(schema) => Change::Restart(typed(&schema, kinds)),
        Change::Rows(batch) => {
            let schema = typed(&batch.schema(), kinds);
            let kind = |index: usize| kinds.get(index).copied().flatten().unwrap_or(Kind::Text);
            let value = |(index, column): (usize, &ArrayRef)| match column.as_string_opt::<i32>() {
                Some(_) if for_duckdb && kind(index) == Kind::Text => Ok(column.clone()),
                // A given text, too: blanks alone are NULL.
                Some(texts) => kind(index)
                    .array(texts)
                    .map_err(|error| error.with("column", schema.field(index).name())),
                None => Ok(column.clone()),
            };
            let columns = batch.columns().iter().enumerate().map(value).collect::<Result<_>>()?;
            let batch = RecordBatch::try_new(schema.clone(), columns)
                .or_error(ErrorKind::Internal, "the rows of a seed do not make a batch")?;
            Change::Rows(batch)
        }
        other => other,
    })
}

/// What the source says, with names of columns as they are where nothing quotes them.
fn named(change: Change) -> Result<Change> {
    let named = |schema: &SchemaRef| -> SchemaRef {
        let field = |field: &Arc<Field>| field.as_ref().clone().with_name(field.name().trim());
        let fields: Vec<Field> = schema.fields().iter().map(field).collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    };
    Ok(match change {
        Change::Schema(schema) => Change::Schema(named(&schema)),
        Change::Restart(schema) => Change::Restart(named(&schema)),
        Change::Rows(batch) => Change::Rows(
            RecordBatch::try_new(named(&batch.schema()), batch.columns().to_vec())
                .or_error(ErrorKind::Internal, "the rows of a seed do not make a batch")?,
        ),
        other => other,
    })
}

#[async_trait]
impl Source for SeedSource {
    async fn ping(&self) -> Result<()> {
        self.files.ping().await
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        self.files.tables().await
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let texts = match self.as_texts(&request).await? {
            Ok(texts) => texts,
            Err(said) => return Ok(Box::pin(stream::iter(said.into_iter().map(Ok)))),
        };
        let found = look(self.files.read(texts.clone()).await?, &request.declared).await?;
        let kinds = found.kinds;
        let changes = match found.changes {
            Some(changes) => stream::iter(changes.into_iter().map(Ok)).boxed(),
            None => self.files.read(texts).await?,
        };
        let (for_duckdb, unquoted) = (self.for_duckdb, self.unquoted);
        let given = move |change| {
            let change = converted(change, &kinds, for_duckdb)?;
            if unquoted { named(change) } else { Ok(change) }
        };
        Ok(changes.map(move |change| given(change?)).boxed())
    }

    async fn acknowledge(&self, position: &Position) -> Result<()> {
        self.files.acknowledge(position).await
    }
}
