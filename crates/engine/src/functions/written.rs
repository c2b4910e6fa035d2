//! Values in text by a pattern (`format('{:.2f}', x)`, `printf('%05d', x)`) and as DuckDB writes them:
//! a double always has a point or an exponent, a list is `[1, 2]`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Call, Simple, bad_value, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let text = |_: &[DataType], _: &[Option<&ScalarValue>]| Ok(DataType::Utf8View);
    vec![
        Simple::function("tidemill_braces", takes, text, |args, _| by_pattern(args, braces)),
        Simple::function("printf", takes, text, |args, _| by_pattern(args, percents)),
        Simple::function(
            "tidemill_plain",
            |types| Ok(types.to_vec()),
            |types, _| {
                Ok(match types {
                    [one] if is_written(one) => DataType::Utf8View,
                    [one] => one.clone(),
                    _ => return usage("`tidemill_plain` takes one argument"),
                })
            },
            plain,
        ),
        Simple::function(
            "tidemill_as_text",
            |types| Ok(types.to_vec()),
            |types, _| {
                Ok(match types {
                    [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View] => types[0].clone(),
                    [list] if matches!(list, DataType::List(_) | DataType::LargeList(_)) => {
                        list.clone()
                    }
                    [DataType::Binary | DataType::BinaryView | DataType::LargeBinary] => {
                        types[0].clone()
                    }
                    [_] => DataType::Utf8View,
                    _ => return usage("`tidemill_as_text` takes one argument"),
                })
            },
            as_text,
        ),
    ]
}

/// A value of another type as text; a list stays one.
fn as_text(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    if args[0].data_type() == call.returns {
        return Ok(args[0].clone());
    }
    let array = plain(args, call)?;
    let zone: chrono_tz::Tz = call.timezone.parse().unwrap_or(chrono_tz::UTC);
    match super::rendering::renders(array.data_type()) {
        true => Ok(cast(&super::rendering::texts(&array, zone)?, call.returns)?),
        false => Ok(cast(&array, call.returns)?),
    }
}

fn is_written(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) => {
            let item = item.data_type();
            item.is_numeric()
                || matches!(
                    item,
                    DataType::Utf8 | DataType::Utf8View | DataType::Boolean | DataType::Date32
                )
        }
        _ => false,
    }
}

/// Values whose text differs between the systems, as text; all others as they are.
fn plain(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let array = &args[0];
    if !is_written(array.data_type()) {
        return Ok(array.clone());
    }
    let mut out = StringViewBuilder::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        match array.as_list_opt::<i32>() {
            Some(lists) => {
                let items = lists.value(row);
                let shown: Result<Vec<String>> =
                    (0..items.len()).map(|at| shown(&items, at)).collect();
                out.append_value(format!("[{}]", shown?.join(", ")));
            }
            None => out.append_value(shown(array, row)?),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn shown(array: &ArrayRef, row: usize) -> Result<String> {
    if array.is_null(row) {
        return Ok("NULL".to_owned());
    }
    Ok(match array.data_type() {
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => single(array.as_primitive::<Float32Type>().value(row)),
        _ => {
            let text = cast(&array.slice(row, 1), &DataType::Utf8View)?;
            text.as_string_view().value(0).to_owned()
        }
    })
}

/// The fewest digits that mean this number.
pub(super) fn double(number: f64) -> String {
    digits(number, &format!("{number:e}"))
}

fn single(number: f32) -> String {
    digits(f64::from(number), &format!("{number:e}"))
}

fn digits(number: f64, scientific: &str) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific.to_owned();
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{all}");
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    match all.len() > whole {
        true => format!("{sign}{}.{}", &all[..whole], &all[whole..]),
        false => format!("{sign}{all}{}.0", "0".repeat(whole - all.len())),
    }
}

/// The pattern is text, numbers stay numbers, everything else is text.
fn takes(types: &[DataType]) -> Result<Vec<DataType>> {
    let Some((_, values)) = types.split_first() else {
        return usage("this function takes a pattern and the values for it");
    };
    let mut taken = vec![DataType::Utf8View];
    taken.extend(values.iter().map(|data_type| match data_type {
        number if number.is_integer() => DataType::Int64,
        number if number.is_numeric() => DataType::Float64,
        _ => DataType::Utf8View,
    }));
    Ok(taken)
}

enum Given {
    Whole(i64),
    Number(f64),
    Text(String),
}

fn by_pattern(
    args: &[ArrayRef],
    write: fn(&str, &[Given]) -> std::result::Result<String, String>,
) -> Result<ArrayRef> {
    let patterns = args[0].as_string_view();
    let mut out = StringViewBuilder::with_capacity(patterns.len());
    for row in 0..patterns.len() {
        if args.iter().any(|array| array.is_null(row)) {
            out.append_null();
            continue;
        }
        let given: Vec<Given> = args[1..]
            .iter()
            .map(|array| match array.data_type() {
                DataType::Int64 => {
                    Given::Whole(array.as_primitive::<arrow::datatypes::Int64Type>().value(row))
                }
                DataType::Float64 => Given::Number(array.as_primitive::<Float64Type>().value(row)),
                _ => Given::Text(array.as_string_view().value(row).to_owned()),
            })
            .collect();
        out.append_value(write(patterns.value(row), &given).map_err(bad_value)?);
    }
    Ok(Arc::new(out.finish()))
}

/// How one value is written.
#[derive(Default)]
struct Form {
    left: bool,
    centre: bool,
    fill: Option<char>,
    zero: bool,
    plus: bool,
    thousands: bool,
    width: usize,
    precision: Option<usize>,
    letter: Option<char>,
}

impl Form {
    /// `[fill][<>^][+][0][width][,][.precision][letter]`
    fn read(written: &str) -> std::result::Result<Form, String> {
        let mut form = Form::default();
        let letters: Vec<char> = written.chars().collect();
        let mut at = 0;
        let aligns = |letter: Option<&char>| matches!(letter, Some('<' | '>' | '^'));
        if aligns(letters.get(1)) {
            form.fill = Some(letters[0]);
            at = 1;
        }
        if aligns(letters.get(at)) {
            form.left = letters[at] == '<';
            form.centre = letters[at] == '^';
            at += 1;
        }
        while let Some(letter) = letters.get(at) {
            match letter {
                '+' => form.plus = true,
                '-' => form.left = true,
                ' ' | '#' => {}
                '0' if form.width == 0 && form.precision.is_none() => form.zero = true,
                ',' | '_' | '\'' => form.thousands = true,
                '.' => form.precision = Some(0),
                digit if digit.is_ascii_digit() => {
                    let digit = *digit as usize - '0' as usize;
                    match &mut form.precision {
                        Some(precision) => *precision = (*precision * 10 + digit).min(1_000),
                        None => form.width = (form.width * 10 + digit).min(10_000),
                    }
                }
                letter if letter.is_ascii_alphabetic() => form.letter = Some(*letter),
                other => return Err(format!("`{other}` in the pattern `{written}` is not known")),
            }
            at += 1;
        }
        Ok(form)
    }

    fn write(&self, value: &Given) -> std::result::Result<String, String> {
        let number = !matches!(value, Given::Text(_));
        let mut text = match (value, self.letter) {
            (Given::Whole(value), Some('x')) => format!("{value:x}"),
            (Given::Whole(value), Some('X')) => format!("{value:X}"),
            (Given::Whole(value), Some('b')) => format!("{value:b}"),
            (Given::Whole(value), Some('o')) => format!("{value:o}"),
            (Given::Whole(value), Some('f' | 'F' | 'g' | 'e')) => {
                format!("{:.*}", self.precision.unwrap_or(6), *value as f64)
            }
            (Given::Whole(value), _) => value.to_string(),
            (Given::Number(value), Some('f' | 'F')) => {
                format!("{value:.*}", self.precision.unwrap_or(6))
            }
            (Given::Number(value), Some('e')) => {
                let written = format!("{value:.*e}", self.precision.unwrap_or(6));
                match written.split_once('e') {
                    Some((mantissa, exponent)) => {
                        let exponent: i32 = exponent.parse().unwrap_or(0);
                        let sign = if exponent < 0 { '-' } else { '+' };
                        format!("{mantissa}e{sign}{:02}", exponent.abs())
                    }
                    None => written,
                }
            }
            (Given::Number(value), Some('d' | 'i')) => (*value as i64).to_string(),
            (Given::Number(value), _) => double(*value),
            (Given::Text(text), Some('d' | 'f' | 'x' | 'e')) => {
                return Err(format!("`{text}` is no number, and the pattern wants one"));
            }
            (Given::Text(text), _) => match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.clone(),
            },
        };
        if number && self.thousands {
            text = grouped(&text);
        }
        if number && self.plus && !text.starts_with('-') {
            text.insert(0, '+');
        }
        let lacking = self.width.saturating_sub(text.chars().count());
        if lacking == 0 {
            return Ok(text);
        }
        if self.zero && number && !self.left {
            let sign = usize::from(text.starts_with(['-', '+']));
            text.insert_str(sign, &"0".repeat(lacking));
            return Ok(text);
        }
        let fill = |count: usize| self.fill.unwrap_or(' ').to_string().repeat(count);
        Ok(if self.centre {
            format!("{}{text}{}", fill(lacking / 2), fill(lacking - lacking / 2))
        } else if self.left {
            format!("{text}{}", fill(lacking))
        } else {
            format!("{}{text}", fill(lacking))
        })
    }
}

/// `1234.5` as `1,234.5`.
fn grouped(number: &str) -> String {
    let start = usize::from(number.starts_with('-'));
    let end = number.find('.').unwrap_or(number.len());
    let mut out = String::from(&number[..start]);
    for (place, digit) in number[start..end].chars().enumerate() {
        if place > 0 && (end - start - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + &number[end..]
}

/// `{}`, `{0}`, `{:.2f}`
fn braces(pattern: &str, given: &[Given]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut next = 0;
    let mut rest = pattern;
    while let Some(place) = rest.find(['{', '}']) {
        out.push_str(&rest[..place]);
        let mark = rest.as_bytes()[place];
        rest = &rest[place + 1..];
        if rest.as_bytes().first() == Some(&mark) {
            out.push(mark as char);
            rest = &rest[1..];
            continue;
        }
        let end = match mark {
            b'{' => rest.find('}'),
            _ => None,
        };
        let Some(end) = end else { return Err(format!("a brace of `{pattern}` stands alone")) };
        let (name, form) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
        rest = &rest[end + 1..];
        let place = match name.trim() {
            "" => {
                next += 1;
                next - 1
            }
            number => number.parse().map_err(|_| format!("`{{{number}}}` is no place"))?,
        };
        let Some(value) = given.get(place) else {
            return Err(format!("`{pattern}` wants more values than there are"));
        };
        let mut form = Form::read(form)?;
        if form.fill.is_none() && matches!(value, Given::Text(_)) && !form.centre && form.width > 0
        {
            form.left = !written_right(pattern);
        }
        out.push_str(&form.write(value)?);
    }
    Ok(out + rest)
}

/// Text stands left unless `>` says otherwise.
fn written_right(pattern: &str) -> bool {
    pattern.contains(":>")
}

/// `%s`, `%05.1f`
fn percents(pattern: &str, given: &[Given]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut given = given.iter();
    let mut rest = pattern;
    while let Some(place) = rest.find('%') {
        out.push_str(&rest[..place]);
        rest = &rest[place + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let Some(end) = rest.find(|letter: char| letter.is_ascii_alphabetic()) else {
            return Err(format!("`{pattern}` ends within a `%`"));
        };
        // `%lld` is `%d`.
        let length = rest[end..].chars().take_while(|letter| matches!(letter, 'l' | 'h')).count();
        let letter = rest[end + length..].chars().next().unwrap_or('s');
        let form = Form::read(&format!("{}{letter}", &rest[..end]))?;
        rest = &rest[(end + length + letter.len_utf8()).min(rest.len())..];
        let Some(value) = given.next() else {
            return Err(format!("`{pattern}` wants more values than there are"));
        };
        out.push_str(&form.write(value)?);
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_have_a_point_or_an_exponent() {
        let written = [
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (1e10, "10000000000.0"),
            (0.001, "0.001"),
            (1e-5, "1e-05"),
            (1.5e20, "1.5e+20"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::INFINITY, "inf"),
        ];
        for (number, expected) in written {
            assert_eq!(double(number), expected);
        }
    }

    #[test]
    fn values_are_written_by_a_pattern() {
        let text = |text: &str| Given::Text(text.to_owned());
        assert_eq!(braces("{} is {}", &[text("a"), Given::Whole(1)]).unwrap(), "a is 1");
        assert_eq!(braces("{1}-{0:>4}", &[Given::Whole(7), text("b")]).unwrap(), "b-   7");
        assert_eq!(
            braces("{:,} {:.2f}", &[Given::Whole(-1_234_567), Given::Number(1.5)]).unwrap(),
            "-1,234,567 1.50"
        );
        assert_eq!(
            percents("%s-%03d %05.1f%%", &[text("x"), Given::Whole(5), Given::Number(3.5)])
                .unwrap(),
            "x-005 003.5%"
        );
        assert!(braces("{} {}", &[Given::Whole(1)]).is_err());
    }
}
