//! A scalar function made of three plain functions: which types it takes, which it gives, and what
//! it does with arrays.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::json_type::{JsonType, json_type, says_json, with_json_type};

type Coerce = fn(&[DataType]) -> Result<Vec<DataType>>;
type Returns = fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>;
type Run = fn(&[ArrayRef], &Call) -> Result<ArrayRef>;

/// What a function may want to know beside its arguments.
pub(super) struct Call<'a> {
    /// The type that the planner was promised.
    pub(super) returns: &'a DataType,
    /// The session's time zone.
    pub(super) timezone: &'a str,
    /// Of each argument, what it is where it is a JSON text.
    pub(super) json: &'a [Option<JsonType>],
}

pub(super) struct Simple {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    coerce: Coerce,
    returns: Returns,
    run: Run,
    kind: Kind,
}

/// What the text that a function gives is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Plain,
    Json,
    Jsonb,
    /// What the first argument is, and `json` where that is plain.
    Same,
}

impl Simple {
    /// How many arguments are the query's. The planner says behind the one of some functions which JSON type
    /// it has: a value that turns out to be the same in a whole file becomes a literal, which has none.
    fn given(&self, count: usize) -> usize {
        if says_json(self.name) { count.min(1) } else { count }
    }

    pub(super) fn function(
        name: &'static str,
        coerce: Coerce,
        returns: Returns,
        run: Run,
    ) -> ScalarUDF {
        Self::aliased(name, &[], coerce, returns, run)
    }

    pub(super) fn aliased(
        name: &'static str,
        aliases: &[&str],
        coerce: Coerce,
        returns: Returns,
        run: Run,
    ) -> ScalarUDF {
        Self::made(name, aliases, coerce, (returns, Kind::Plain), run)
    }

    /// A function that gives a JSON text.
    pub(super) fn json(name: &'static str, coerce: Coerce, kind: Kind, run: Run) -> ScalarUDF {
        Self::json_aliased(name, &[], coerce, kind, run)
    }

    pub(super) fn json_aliased(
        name: &'static str,
        aliases: &[&str],
        coerce: Coerce,
        kind: Kind,
        run: Run,
    ) -> ScalarUDF {
        Self::made(name, aliases, coerce, (gives_text, kind), run)
    }

    fn made(
        name: &'static str,
        aliases: &[&str],
        coerce: Coerce,
        (returns, kind): (Returns, Kind),
        run: Run,
    ) -> ScalarUDF {
        ScalarUDF::new_from_impl(Simple {
            name,
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            signature: Signature::user_defined(Volatility::Immutable),
            coerce,
            returns,
            run,
            kind,
        })
    }
}

// There is one function of each name.
impl PartialEq for Simple {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Simple {}

impl Hash for Simple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Simple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl ScalarUDFImpl for Simple {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let types = &types[..self.given(types.len())];
        (self.returns)(types, &vec![None; types.len()])
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let given = self.given(types.len());
        let (scalars, said) = args.scalar_arguments.split_at(given);
        let says_type = |said: &Option<&ScalarValue>| {
            said.and_then(|name| name.try_as_str().flatten()).and_then(JsonType::named).is_some()
        };
        if said.len() > 1 || !said.iter().all(says_type) {
            return usage(format!("`{}` takes one argument", self.name));
        }
        let returns = (self.returns)(&types[..given], scalars)?;
        let field = Field::new(self.name, returns, true);
        let first = || args.arg_fields.first().and_then(|field| json_type(field));
        let known = match self.kind {
            Kind::Plain => None,
            Kind::Json => Some(JsonType::Json),
            Kind::Jsonb => Some(JsonType::Jsonb),
            Kind::Same => Some(first().unwrap_or(JsonType::Json)),
        };
        Ok(Arc::new(match known {
            Some(known) => with_json_type(field, known),
            None => field,
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (given, said) = types.split_at(self.given(types.len()));
        let mut coerced = (self.coerce)(given)?;
        coerced.extend(said.iter().cloned());
        Ok(coerced)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let (given, said) = args.args.split_at(self.given(args.args.len()));
        let arrays =
            given.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let mut json: Vec<Option<JsonType>> =
            args.arg_fields.iter().take(given.len()).map(|field| json_type(field)).collect();
        if let ([first], [ColumnarValue::Scalar(name)]) = (&mut json[..], said) {
            *first = name.try_as_str().flatten().and_then(JsonType::named).or(*first);
        }
        let call = Call {
            json: &json,
            returns: args.return_field.data_type(),
            timezone: args.config_options.execution.time_zone.as_deref().unwrap_or("UTC"),
        };
        let result = (self.run)(&arrays, &call)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// An error of the user's SQL.
pub(super) fn usage<T>(message: impl Into<String>) -> Result<T> {
    Err(DataFusionError::Plan(message.into()))
}

/// An error of a value.
pub(super) fn bad_value(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}

pub(super) const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Fails unless the number of arguments is right.
pub(super) fn arity(name: &str, types: &[DataType], least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&types.len()) {
        return Ok(());
    }
    let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
    usage(format!("`{name}` takes {wanted} arguments, not {}", types.len()))
}

/// Dates, timestamps and text as microseconds; a zone is kept.
pub(super) fn as_timestamp(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => MICROS,
    }
}

/// Text as views.
pub(super) fn text(array: &ArrayRef) -> &StringViewArray {
    array.as_string_view()
}

pub(super) fn text_at(array: &StringViewArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// For a function of one text.
pub(super) fn one_text(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function", types, 1, 1)?;
    Ok(vec![DataType::Utf8View])
}

/// For a function that gives a text, whatever it takes.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn gives_text(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Utf8View)
}

/// A text for each text; NULL stays NULL.
pub(super) fn each(args: &[ArrayRef], of: impl Fn(&str) -> Result<String>) -> Result<ArrayRef> {
    let values = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        match text_at(values, row) {
            Some(value) => out.append_value(of(value)?),
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}
