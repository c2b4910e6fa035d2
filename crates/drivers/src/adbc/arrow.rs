//! Types and values of Arrow that come from C. Values are copied, and looked at before they are used, so that a
//! driver that errs gives an error.
#![allow(unsafe_code, reason = "structs that a driver filled in are read here")]

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{
    DataType, Field, Fields, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode,
};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::abi::{ArrowArray, ArrowSchema};

/// The flag of a field that may be NULL.
const NULLABLE: i64 = 2;

fn odd(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}

/// A text of C, or nothing.
///
/// # Safety
/// The pointer is null, or of a text that ends with 0 and stays.
unsafe fn text<'a>(pointer: *const c_char) -> Option<&'a str> {
    match pointer.is_null() {
        true => None,
        // SAFETY: by the promise of the caller.
        false => unsafe { CStr::from_ptr(pointer) }.to_str().ok(),
    }
}

/// The items below one.
///
/// # Safety
/// There are as many as are said.
unsafe fn below<'a, T>(items: *mut *mut T, count: i64) -> Result<Vec<&'a T>> {
    let count = usize::try_from(count).unwrap_or(0);
    (0..count)
        // SAFETY: by the promise of the caller.
        .map(|at| unsafe { (*items.add(at)).as_ref() }.ok_or_else(|| odd("a type has no item")))
        .collect()
}

/// The columns of a struct.
///
/// # Safety
/// A driver filled it in, and it was not released.
pub(super) unsafe fn schema(schema: &ArrowSchema) -> Result<Schema> {
    // SAFETY: by the promise of the caller.
    match unsafe { field(schema) }?.data_type() {
        DataType::Struct(fields) => Ok(Schema::new(fields.clone())),
        other => Err(odd(format!("the driver gives a {other} in place of rows"))),
    }
}

/// # Safety
/// As above.
unsafe fn field(schema: &ArrowSchema) -> Result<Field> {
    // SAFETY: by the promise of the caller.
    let (format, name) = unsafe { (text(schema.format), text(schema.name)) };
    let format = format.ok_or_else(|| odd("a column has no type"))?;
    // SAFETY: as above.
    let children = unsafe { below(schema.children, schema.n_children) }?
        .into_iter()
        // SAFETY: as above, of those that belong to it.
        .map(|child| unsafe { field(child) }.map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let mut data_type = data_type(format, children)?;
    // SAFETY: as above.
    if let Some(values) = unsafe { schema.dictionary.as_ref() } {
        // SAFETY: as above.
        let values = unsafe { field(values) }?.data_type().clone();
        data_type = DataType::Dictionary(Box::new(data_type), Box::new(values));
    }
    Ok(Field::new(name.unwrap_or_default(), data_type, schema.flags & NULLABLE != 0))
}

/// The type of a format, as the interface writes them.
fn data_type(format: &str, children: Vec<Arc<Field>>) -> Result<DataType> {
    let wrong = || odd(format!("the type `{format}` of a driver is not known"));
    let number = |text: &str| text.parse::<i32>().map_err(|_| wrong());
    let unit = |code: &str| match code {
        "s" => Ok(TimeUnit::Second),
        "m" => Ok(TimeUnit::Millisecond),
        "u" => Ok(TimeUnit::Microsecond),
        "n" => Ok(TimeUnit::Nanosecond),
        _ => Err(wrong()),
    };
    let only = |children: &[Arc<Field>]| children.first().cloned().ok_or_else(wrong);
    Ok(match format {
        "n" => DataType::Null,
        "b" => DataType::Boolean,
        "c" => DataType::Int8,
        "C" => DataType::UInt8,
        "s" => DataType::Int16,
        "S" => DataType::UInt16,
        "i" => DataType::Int32,
        "I" => DataType::UInt32,
        "l" => DataType::Int64,
        "L" => DataType::UInt64,
        "e" => DataType::Float16,
        "f" => DataType::Float32,
        "g" => DataType::Float64,
        "z" => DataType::Binary,
        "Z" => DataType::LargeBinary,
        "vz" => DataType::BinaryView,
        "u" => DataType::Utf8,
        "U" => DataType::LargeUtf8,
        "vu" => DataType::Utf8View,
        "tdD" => DataType::Date32,
        "tdm" => DataType::Date64,
        "tts" => DataType::Time32(TimeUnit::Second),
        "ttm" => DataType::Time32(TimeUnit::Millisecond),
        "ttu" => DataType::Time64(TimeUnit::Microsecond),
        "ttn" => DataType::Time64(TimeUnit::Nanosecond),
        "tiM" => DataType::Interval(IntervalUnit::YearMonth),
        "tiD" => DataType::Interval(IntervalUnit::DayTime),
        "tin" => DataType::Interval(IntervalUnit::MonthDayNano),
        "+l" => DataType::List(only(&children)?),
        "+L" => DataType::LargeList(only(&children)?),
        "+s" => DataType::Struct(Fields::from(children)),
        "+m" => DataType::Map(only(&children)?, false),
        _ => {
            let (kind, rest) = format.split_once(':').unwrap_or((format, ""));
            match kind {
                "w" => DataType::FixedSizeBinary(number(rest)?),
                "+w" => DataType::FixedSizeList(only(&children)?, number(rest)?),
                "d" => {
                    let parts: Vec<i32> = rest.split(',').map(number).collect::<Result<_>>()?;
                    let [size, digits, ..] = parts[..] else { return Err(wrong()) };
                    let size = u8::try_from(size).map_err(|_| wrong())?;
                    let digits = i8::try_from(digits).map_err(|_| wrong())?;
                    match parts.get(2) {
                        None | Some(128) => DataType::Decimal128(size, digits),
                        Some(256) => DataType::Decimal256(size, digits),
                        Some(64) => DataType::Decimal64(size, digits),
                        Some(32) => DataType::Decimal32(size, digits),
                        Some(_) => return Err(wrong()),
                    }
                }
                "+ud" | "+us" => {
                    let ids: Vec<i32> = rest.split(',').map(number).collect::<Result<_>>()?;
                    if ids.len() != children.len() {
                        return Err(wrong());
                    }
                    let ids = ids.into_iter().map(|id| i8::try_from(id).map_err(|_| wrong()));
                    let ids = ids.collect::<Result<Vec<_>>>()?;
                    let fields: UnionFields = ids.into_iter().zip(children).collect();
                    let dense = kind == "+ud";
                    let mode = if dense { UnionMode::Dense } else { UnionMode::Sparse };
                    DataType::Union(fields, mode)
                }
                _ if kind.len() == 3 && kind.starts_with("ts") => {
                    let zone = (!rest.is_empty()).then(|| rest.into());
                    DataType::Timestamp(unit(&kind[2..])?, zone)
                }
                _ if kind.len() == 3 && kind.starts_with("tD") => {
                    DataType::Duration(unit(&kind[2..])?)
                }
                _ => return Err(wrong()),
            }
        }
    })
}

/// The values as an array of this type.
///
/// # Safety
/// A driver filled it in, for this type, and it was not released.
pub(super) unsafe fn array(array: &ArrowArray, data_type: &DataType) -> Result<ArrayRef> {
    // SAFETY: by the promise of the caller.
    let data = unsafe { data(array, data_type) }?;
    Ok(make_array(data))
}

/// # Safety
/// As above.
unsafe fn data(array: &ArrowArray, data_type: &DataType) -> Result<ArrayData> {
    let size = |number: i64| {
        usize::try_from(number).map_err(|_| odd("the driver gives an array of a negative length"))
    };
    let (length, offset) = (size(array.length)?, size(array.offset)?);
    let rows = length + offset;
    let count = size(array.n_buffers)?;
    let pointer = |at: usize| match at < count && !array.buffers.is_null() {
        // SAFETY: there are as many buffers as are said.
        true => unsafe { *array.buffers.add(at) }.cast::<u8>(),
        false => std::ptr::null(),
    };
    let copied = |at: usize, bytes: usize| match pointer(at) {
        // Where nothing is needed there may be nothing.
        pointer if pointer.is_null() => Buffer::from(vec![0u8; bytes]),
        // SAFETY: by the rules of the interface a buffer has as many bytes as its rows need.
        pointer => Buffer::from(unsafe { std::slice::from_raw_parts(pointer, bytes) }),
    };
    let bits = |at: usize| copied(at, rows.div_ceil(8));
    // The last of the places where values end.
    let last = |buffer: &Buffer, wide: bool| -> Result<usize> {
        let bytes = buffer.as_slice();
        match wide {
            true => size(bytes.last_chunk::<8>().map_or(0, |last| i64::from_ne_bytes(*last))),
            false => {
                size(bytes.last_chunk::<4>().map_or(0, |last| i32::from_ne_bytes(*last).into()))
            }
        }
    };
    let offsets = |wide: bool| copied(1, (rows + 1) * if wide { 8 } else { 4 });
    let mut has_nulls = true;
    let buffers = match data_type {
        DataType::Null => {
            has_nulls = false;
            vec![]
        }
        DataType::Boolean => vec![bits(1)],
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
            let wide = matches!(data_type, DataType::LargeUtf8 | DataType::LargeBinary);
            let offsets = offsets(wide);
            let bytes = last(&offsets, wide)?;
            vec![offsets, copied(2, bytes)]
        }
        DataType::Utf8View | DataType::BinaryView => {
            let lengths = copied(count.saturating_sub(1), count.saturating_sub(3) * 8);
            let lengths = lengths.as_slice().as_chunks::<8>().0;
            let mut buffers = vec![copied(1, rows * 16)];
            for (at, bytes) in lengths.iter().enumerate() {
                buffers.push(copied(at + 2, size(i64::from_ne_bytes(*bytes))?));
            }
            buffers
        }
        DataType::List(_) | DataType::Map(..) => vec![offsets(false)],
        DataType::LargeList(_) => vec![offsets(true)],
        DataType::Struct(_) | DataType::FixedSizeList(..) => vec![],
        DataType::Union(_, mode) => {
            has_nulls = false;
            match mode {
                UnionMode::Dense => vec![copied(0, rows), copied(1, rows * 4)],
                UnionMode::Sparse => vec![copied(0, rows)],
            }
        }
        DataType::FixedSizeBinary(width) => vec![copied(1, rows * size(i64::from(*width))?)],
        DataType::Dictionary(index, _) => {
            vec![copied(1, rows * index.primitive_width().unwrap_or(4))]
        }
        plain => match plain.primitive_width() {
            Some(width) => vec![copied(1, rows * width)],
            None => return Err(odd(format!("a driver gives a {plain}"))),
        },
    };
    let nulls = (has_nulls && array.null_count != 0 && !pointer(0).is_null()).then(|| bits(0));
    // SAFETY: there are as many as are said.
    let children = unsafe { below(array.children, array.n_children) }?;
    let types: Vec<&DataType> = match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        _ => vec![],
    };
    if children.len() != types.len() {
        return Err(odd("the driver gives other values than its types say"));
    }
    let mut below = Vec::with_capacity(types.len());
    for (child, data_type) in children.into_iter().zip(types) {
        // SAFETY: it belongs to this one, and has that type.
        below.push(unsafe { data(child, data_type) }?);
    }
    // SAFETY: as above.
    if let (DataType::Dictionary(_, values), Some(dictionary)) =
        (data_type, unsafe { array.dictionary.as_ref() })
    {
        // SAFETY: as above.
        below.push(unsafe { data(dictionary, values) }?);
    }
    ArrayData::builder(data_type.clone())
        .len(length)
        .offset(offset)
        .buffers(buffers)
        .child_data(below)
        .null_bit_buffer(nulls)
        .build()
        .or_error(ErrorKind::Data, "the driver gives values that are not what it says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_types() {
        let item = || vec![Arc::new(Field::new("item", DataType::Int32, true))];
        for (format, children, expected) in [
            ("d:10,2", vec![], DataType::Decimal128(10, 2)),
            ("d:50,2,256", vec![], DataType::Decimal256(50, 2)),
            ("tsu:UTC", vec![], DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            ("tsn:", vec![], DataType::Timestamp(TimeUnit::Nanosecond, None)),
            ("tDs", vec![], DataType::Duration(TimeUnit::Second)),
            ("w:16", vec![], DataType::FixedSizeBinary(16)),
            ("+l", item(), DataType::new_list(DataType::Int32, true)),
        ] {
            assert_eq!(data_type(format, children).unwrap(), expected, "{format}");
        }
        for format in ["", "x", "d:1", "ts", "+l", "+ud:0", "tsx:"] {
            assert!(data_type(format, vec![]).is_err(), "{format}");
        }
    }
}
