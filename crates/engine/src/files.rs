//! Files that a query names: `read_csv('x.csv')`, `read_parquet('data/*.parquet')`, `'x.json'`
//! (DuckDB's words).
//!
//! The engine reads no files itself. It puts what the query says into the settings that sources have
//! under `ingest:`, and somebody else ([`FileTables`]) makes a table of them, which stays for the
//! run. Arguments that say only how DuckDB goes about it are left out of account; one that would
//! change the rows and is not known is refused.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DictionaryField, Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    Ident, ObjectName, ObjectNamePart, Statement, TableAlias, TableFactor, UnaryOperator, Value,
    VisitMut, VisitorMut,
};
use serde_json::{Map, Value as Json, json};
use tidemill_core::{Error, ErrorKind, QueryContext, Result, Staged};

use crate::hive::FileNames;
use crate::names::folded;

/// What a query says about files.
#[derive(Debug, Clone, PartialEq)]
pub struct FileRequest {
    /// How the query names them, for messages.
    pub text: String,
    /// The settings, as a source has them under `ingest:`.
    pub settings: Map<String, Json>,
    /// Columns and their types, where the query says them.
    pub columns: Vec<(String, String)>,
}

/// Makes tables of files.
#[async_trait]
pub trait FileTables: Send + Sync {
    /// The rows of the files, for as long as this run lasts. The same files are read once.
    async fn open(&self, request: &FileRequest, context: &QueryContext) -> Result<Arc<Staged>>;
}

/// Files that were taken out of a statement.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The name that stands in their place.
    pub(crate) key: String,
    pub(crate) request: FileRequest,
    /// Where their folders may give columns.
    pub(crate) names: Option<FileNames>,
}

/// Takes the files out of a statement: each becomes a name, which is given with its request.
pub(crate) fn take_files(statement: &mut Statement) -> Result<Vec<Taken>> {
    let mut files = Files::default();
    match VisitMut::visit(statement, &mut files) {
        ControlFlow::Continue(()) => Ok(files.found),
        ControlFlow::Break(error) => Err(error),
    }
}

#[derive(Default)]
struct Files {
    found: Vec<Taken>,
}

impl VisitorMut for Files {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.take(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Files {
    fn take(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table { name, args, alias, .. } = factor else { return Ok(()) };
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return Ok(()) };
        let (mut request, called) = match args {
            Some(arguments) => {
                let word = folded(ident);
                let Some(format) = reader(&word) else { return Ok(()) };
                (called_with(&word, format, &arguments.args)?, word)
            }
            None if ident.quote_style.is_some() => {
                let Some(format) = format_of(&ident.value) else { return Ok(()) };
                let mut settings = usual(format);
                settings.insert("location".to_owned(), json!([ident.value]));
                let stem = ident.value.rsplit(['/', '\\']).next().unwrap_or_default();
                let stem = stem.split('.').next().unwrap_or_default().to_owned();
                let text = format!("'{}'", ident.value);
                (FileRequest { text, settings, columns: Vec::new() }, stem)
            }
            None => return Ok(()),
        };
        if let Some(Json::Array(places)) = request.settings.get("location")
            && let Some(place) = places.iter().filter_map(Json::as_str).find(|p| p.contains("://"))
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "files of the network cannot be read in a query",
            )
            .with("location", place)
            .with("hint", "bring them beside the project, or load them as a source"));
        }
        let names = names_of(&mut request.settings);
        let key = format!("tidemill file {}", self.found.len());
        *args = None;
        *name = ObjectName::from(vec![Ident::with_quote('"', &key)]);
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', called),
            columns: Vec::new(),
            at: None,
        });
        self.found.push(Taken { key, request, names });
        Ok(())
    }
}

/// The column of the files' names, where the query may want their folders: it says so, or it does not say
/// that it does not, and there are folders that are patterns or have values.
fn names_of(settings: &mut Map<String, Json>) -> Option<FileNames> {
    let wanted = settings.remove(HIVE);
    let typed = settings.remove(HIVE_TYPES) != Some(Json::Bool(false));
    let wanted = wanted.and_then(|wanted| wanted.as_bool()).unwrap_or_else(|| {
        let Some(Json::Array(places)) = settings.get("location") else { return false };
        places.iter().filter_map(Json::as_str).any(FileNames::may_count)
    });
    if !wanted {
        return None;
    }
    let names = FileNames::new(settings.get(FILE_COLUMN).and_then(Json::as_str), typed);
    settings.insert(FILE_COLUMN.to_owned(), names.column.clone().into());
    Some(names)
}

/// The setting for a column with the file's name.
const FILE_COLUMN: &str = "source_file_column";
const HIVE: &str = "hive_partitioning";
const HIVE_TYPES: &str = "hive_types_autocast";

/// The format that a function reads.
fn reader(word: &str) -> Option<&'static str> {
    Some(match word {
        "read_csv" | "read_csv_auto" => "csv",
        "read_parquet" | "parquet_scan" => "parquet",
        "read_json" | "read_json_auto" | "read_json_objects" => "json",
        "read_ndjson" | "read_ndjson_auto" => "ndjson",
        _ => return None,
    })
}

/// The format that a file's name says.
fn format_of(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    Some(match name.rsplit_once('.')?.1 {
        "csv" | "tsv" => "csv",
        "parquet" => "parquet",
        "json" => "json",
        "ndjson" | "jsonl" => "ndjson",
        _ => return None,
    })
}

/// DuckDB's rules where they are not ours.
fn usual(format: &str) -> Map<String, Json> {
    let mut settings = Map::new();
    // A `.json` file may hold one object a line.
    if format != "json" {
        settings.insert("format".to_owned(), format.into());
    }
    settings.insert("mode".to_owned(), "full".into());
    settings.insert("names".to_owned(), "duckdb".into());
    settings.insert(FILE_COLUMN.to_owned(), false.into());
    settings.insert("source_row_column".to_owned(), false.into());
    if format == "csv" {
        settings.insert("null_values".to_owned(), json!([""]));
        settings.insert("quoted_nulls".to_owned(), true.into());
        settings.insert("short_rows".to_owned(), "null".into());
        settings.insert("decimals".to_owned(), "rounded".into());
    }
    settings
}

fn wrong(word: &str, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("`{word}`: {what}"))
}

fn called_with(word: &str, format: &str, arguments: &[FunctionArg]) -> Result<FileRequest> {
    let mut settings = usual(format);
    let mut columns = Vec::new();
    let mut locations = Vec::new();
    for argument in arguments {
        let (name, value) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), operator } => {
                let _: &FunctionArgOperator = operator;
                (folded(name), value)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq | BinaryOperator::Assignment,
                right,
            })) => match left.as_ref() {
                Expr::Identifier(name) => (folded(name), right.as_ref()),
                _ => return Err(wrong(word, "an argument has no name")),
            },
            FunctionArg::Unnamed(FunctionArgExpr::Expr(place)) if locations.is_empty() => {
                locations = texts(place)
                    .ok_or_else(|| wrong(word, "the first argument must be a path or a list"))?;
                continue;
            }
            _ => return Err(wrong(word, "an argument could not be understood")),
        };
        option(word, &name, value, &mut settings, &mut columns)?;
    }
    if locations.is_empty() {
        return Err(wrong(word, "a path is wanted"));
    }
    let text = format!("{word}('{}')", locations.join("', '"));
    settings.insert("location".to_owned(), json!(locations));
    Ok(FileRequest { text, settings, columns })
}

fn option(
    word: &str,
    name: &str,
    value: &Expr,
    settings: &mut Map<String, Json>,
    columns: &mut Vec<(String, String)>,
) -> Result<()> {
    let said = |what: &str| wrong(word, &format!("`{name}` must be {what}"));
    let text =
        || texts(value).and_then(|texts| texts.into_iter().next()).ok_or_else(|| said("a text"));
    let flag = || truth(value).ok_or_else(|| said("true or false"));
    let key = match name {
        "delim" | "sep" | "delimiter" => "delimiter",
        "quote" => "quote",
        "escape" => "escape",
        "comment" => "comment",
        "encoding" => "encoding",
        "dateformat" => "date_format",
        "timestampformat" => "timestamp_format",
        "compression" => "compression",
        "header" => {
            settings.insert("header".to_owned(), flag()?.into());
            return Ok(());
        }
        "skip" => {
            let lines = number(value).ok_or_else(|| said("a number"))?;
            settings.insert("skip_rows".to_owned(), lines.into());
            return Ok(());
        }
        "nullstr" => {
            let nulls = texts(value).ok_or_else(|| said("a text or a list of texts"))?;
            settings.insert("null_values".to_owned(), json!(nulls));
            return Ok(());
        }
        "filename" => {
            let column = match texts(value).and_then(|texts| texts.into_iter().next()) {
                Some(name) => Json::from(name),
                None if flag()? => "filename".into(),
                None => false.into(),
            };
            settings.insert(FILE_COLUMN.to_owned(), column);
            return Ok(());
        }
        "columns" | "types" | "dtypes" | "column_types" => {
            let fields = fields(value).ok_or_else(|| said("a struct of names and types"))?;
            columns.extend(fields);
            return Ok(());
        }
        "all_varchar" => {
            settings.insert("all_text".to_owned(), flag()?.into());
            return Ok(());
        }
        "ignore_errors" => {
            if flag()? {
                settings.insert("max_rejects".to_owned(), "100%".into());
            }
            return Ok(());
        }
        "format" => {
            let format = text()?;
            match format.as_str() {
                "newline_delimited" => settings.insert("format".to_owned(), "ndjson".into()),
                "array" => settings.insert("format".to_owned(), "json".into()),
                _ => None,
            };
            return Ok(());
        }
        HIVE | HIVE_TYPES => {
            settings.insert(name.to_owned(), flag()?.into());
            return Ok(());
        }
        "normalize_names" => {
            if flag()? {
                settings.insert("names".to_owned(), "snake_case".into());
            }
            return Ok(());
        }
        // How DuckDB goes about it.
        "auto_detect"
        | "union_by_name"
        | "sample_size"
        | "parallel"
        | "maximum_object_size"
        | "records"
        | "binary_as_string"
        | "maximum_depth"
        | "max_line_size"
        | "strict_mode"
        | "file_row_number"
        | "auto_type_candidates"
        | "null_padding"
        | "allow_quoted_nulls"
        | "store_rejects"
        | "rejects_limit"
        | "new_line"
        | "buffer_size"
        | "explicit_cardinality"
        | "convert_strings_to_integers" => return Ok(()),
        _ => return Err(wrong(word, &format!("the argument `{name}` is not known"))),
    };
    settings.insert(key.to_owned(), text()?.into());
    Ok(())
}

fn texts(value: &Expr) -> Option<Vec<String>> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                Some(vec![text.clone()])
            }
            _ => None,
        },
        Expr::Array(array) => {
            array.elem.iter().map(|item| texts(item)?.into_iter().next()).collect()
        }
        Expr::Nested(inner) => texts(inner),
        _ => None,
    }
}

fn truth(value: &Expr) -> Option<bool> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Boolean(flag) => Some(*flag),
            Value::Number(digits, _) => Some(digits != "0"),
            _ => None,
        },
        Expr::Identifier(name) => folded(name).parse().ok(),
        _ => None,
    }
}

fn number(value: &Expr) -> Option<i64> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        _ => None,
    }
}

/// `{'a': 'integer', b: 'text'}`
fn fields(value: &Expr) -> Option<Vec<(String, String)>> {
    let Expr::Dictionary(fields) = value else { return None };
    fields
        .iter()
        .map(|DictionaryField { key, value }| {
            Some((key.value.clone(), texts(value)?.into_iter().next()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_query;

    fn taken(sql: &str) -> (String, Vec<Taken>) {
        let mut statement = parse_query(sql).unwrap();
        let files = take_files(&mut statement).unwrap();
        (statement.to_string(), files)
    }

    #[test]
    fn files_become_names() {
        let (sql, files) = taken(
            "select * from read_csv('a/b.csv', header=true, delim := ';', columns={'x': 'integer'}) \
             join read_parquet(['1.parquet', '2.parquet'], union_by_name=true) p on true \
             join 'data/c.json' on true",
        );
        assert_eq!(files.len(), 3, "{sql}");
        assert!(sql.contains("\"tidemill file 0\" AS \"read_csv\""), "{sql}");
        assert!(sql.contains("\"tidemill file 1\" p"), "{sql}");
        assert!(sql.contains("\"tidemill file 2\" AS \"c\""), "{sql}");
        let first = &files[0].request;
        assert_eq!(first.settings["delimiter"], ";");
        assert_eq!(first.settings["location"], json!(["a/b.csv"]));
        assert_eq!(first.columns, [("x".to_owned(), "integer".to_owned())]);
        assert_eq!(files[1].request.settings["location"], json!(["1.parquet", "2.parquet"]));
    }

    #[test]
    fn folders_are_asked_for() {
        let names = |sql: &str| taken(sql).1.remove(0).names;
        assert_eq!(names("select * from 'a/b.csv'"), None);
        assert_eq!(names("select * from read_csv('a/*/b.csv', hive_partitioning=false)"), None);
        let hidden = names("select * from 'a/*/b.csv'").unwrap();
        assert!(hidden.hidden && hidden.typed);
        let shown = names("select * from read_csv('a/y=1/b.csv', filename=true)").unwrap();
        assert_eq!((shown.column.as_str(), shown.hidden), ("filename", false));
    }

    #[test]
    fn other_names_stay() {
        let (sql, files) = taken("select * from \"a.csv\".b, generate_series(1, 2) g, t");
        assert!(files.is_empty(), "{sql}");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for sql in [
            "select * from read_csv('a.csv', rejects_table='x')",
            "select * from read_csv('s3://bucket/a.csv')",
            "select * from read_csv(a)",
        ] {
            let mut statement = parse_query(sql).unwrap();
            assert_eq!(take_files(&mut statement).unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }
}
