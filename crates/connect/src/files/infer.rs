//! From values to types.
//!
//! What was seen in a column is a set ([`Seen`]); the type is a function of the set. A union of
//! sets does not depend on order, so the type that a column ends with is the one that reading
//! everything first would have given, however the files and samples were split.
//!
//! | seen | type |
//! | --- | --- |
//! | nothing but NULL | text, until something else is seen |
//! | integers | int64 |
//! | numbers with a point or exponent; integers up to 2^53 as well | double |
//! | those, and an integer beyond 2^53 | text (a double would change the integer) |
//! | `true`, `false` | boolean |
//! | dates | date |
//! | times without a zone, and dates | timestamp without zone |
//! | times with a zone or offset | timestamp in UTC |
//! | anything else, or a mixture | text, with every value as it stood in the file |

use arrow::datatypes::{DataType, TimeUnit};

use super::value::{self, Instant};

/// Patterns (`strftime`) that stand in place of ISO 8601.
#[derive(Debug, Clone, Default)]
pub(crate) struct Formats {
    pub(crate) date: Option<String>,
    pub(crate) timestamp: Option<String>,
}

impl Formats {
    /// A date as days since 1970.
    pub(crate) fn parse_date(&self, text: &[u8]) -> Option<i32> {
        match &self.date {
            None => value::parse_date(text),
            Some(format) => {
                let text = std::str::from_utf8(text).ok()?;
                Some(chrono::NaiveDate::parse_from_str(text, format).ok()?.to_epoch_days())
            }
        }
    }

    /// A time.
    pub(crate) fn parse_timestamp(&self, text: &[u8]) -> Option<Instant> {
        let Some(format) = &self.timestamp else { return value::parse_timestamp(text) };
        let text = std::str::from_utf8(text).ok()?;
        let of = |time: chrono::DateTime<chrono::Utc>, zoned| Instant {
            micros: time.timestamp_micros(),
            zoned,
            truncated: !time.timestamp_subsec_nanos().is_multiple_of(1000),
        };
        if let Ok(time) = chrono::DateTime::parse_from_str(text, format) {
            return Some(of(time.to_utc(), true));
        }
        let time = chrono::NaiveDateTime::parse_from_str(text, format).ok()?;
        Some(of(time.and_utc(), false))
    }

    fn is_iso(&self) -> bool {
        self.date.is_none() && self.timestamp.is_none()
    }
}

/// The set of kinds of values that were seen in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen(u16);

impl Seen {
    pub(crate) const NOTHING: Seen = Seen(0);
    pub(crate) const INTEGER: Seen = Seen(1);
    /// An integer that a double cannot hold exactly.
    pub(crate) const BIG_INTEGER: Seen = Seen(2);
    pub(crate) const DOUBLE: Seen = Seen(4);
    pub(crate) const BOOLEAN: Seen = Seen(8);
    pub(crate) const DATE: Seen = Seen(16);
    pub(crate) const LOCAL_TIME: Seen = Seen(32);
    pub(crate) const INSTANT: Seen = Seen(64);
    pub(crate) const TEXT: Seen = Seen(128);
    /// JSON objects.
    pub(crate) const STRUCT: Seen = Seen(256);
    /// JSON arrays.
    pub(crate) const LIST: Seen = Seen(512);
    /// An empty text or NULL token in quotes: text if the column is text, else NULL.
    pub(crate) const QUOTED_NULL: Seen = Seen(1024);

    const NAMES: [(Seen, &str); 11] = [
        (Seen::INTEGER, "integer"),
        (Seen::BIG_INTEGER, "big_integer"),
        (Seen::DOUBLE, "double"),
        (Seen::BOOLEAN, "boolean"),
        (Seen::DATE, "date"),
        (Seen::LOCAL_TIME, "timestamp"),
        (Seen::INSTANT, "timestamp_utc"),
        (Seen::TEXT, "text"),
        (Seen::STRUCT, "struct"),
        (Seen::LIST, "list"),
        (Seen::QUOTED_NULL, "quoted_null"),
    ];

    pub(crate) fn contains(self, other: Seen) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn add(&mut self, other: Seen) {
        self.0 |= other.0;
    }

    #[must_use]
    pub(crate) fn and(self, other: Seen) -> Seen {
        Seen(self.0 | other.0)
    }

    #[must_use]
    pub(crate) fn without(self, other: Seen) -> Seen {
        Seen(self.0 & !other.0)
    }

    fn within(self, other: Seen) -> bool {
        self.0 & !other.0 == 0
    }

    /// The type; `None` while only NULLs were seen. Structs and lists are not for this function.
    pub(crate) fn scalar_type(self) -> Option<DataType> {
        const NUMBERS: Seen = Seen(1 | 4);
        const INTEGERS: Seen = Seen(1 | 2);
        let only_quoted = self == Seen::QUOTED_NULL;
        let kinds = Seen(self.0 & !Seen::QUOTED_NULL.0);
        Some(if kinds == Seen::NOTHING {
            return only_quoted.then_some(DataType::Utf8);
        } else if kinds.within(INTEGERS) {
            DataType::Int64
        } else if kinds.within(NUMBERS) {
            DataType::Float64
        } else if kinds == Seen::BOOLEAN {
            DataType::Boolean
        } else if kinds == Seen::DATE {
            DataType::Date32
        } else if kinds.within(Seen(16 | 32)) {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        } else if kinds == Seen::INSTANT {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        } else {
            DataType::Utf8
        })
    }

    /// What a column of this type may hold, for a table that is there already. `None` when it is
    /// not a type that inference gives.
    pub(crate) fn of_type(data_type: &DataType) -> Option<Seen> {
        Some(match data_type {
            DataType::Int64 => Seen::INTEGER,
            DataType::Float64 => Seen::DOUBLE,
            DataType::Boolean => Seen::BOOLEAN,
            DataType::Date32 => Seen::DATE,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Seen::LOCAL_TIME,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
                Seen::INSTANT
            }
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Seen::TEXT,
            _ => return None,
        })
    }

    /// The names of the kinds, for a position.
    pub(crate) fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(kind, _)| self.contains(*kind)).map(|(_, name)| *name).collect()
    }

    /// The set of these names; unknown names count as text.
    pub(crate) fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Seen {
        let mut seen = Seen::NOTHING;
        for name in names {
            seen.add(
                Self::NAMES
                    .iter()
                    .find(|(_, known)| *known == name)
                    .map_or(Seen::TEXT, |(kind, _)| *kind),
            );
        }
        seen
    }

    /// What a text value is. It is not a NULL token. Blanks around numbers, dates and truth values
    /// do not count.
    pub(crate) fn classify(text: &[u8], formats: &Formats) -> Seen {
        let text = text.trim_ascii();
        let Some(first) = text.first() else { return Seen::TEXT };
        match first {
            b'0'..=b'9' | b'-' | b'.' | b'N' | b'n' => {
                if let Some(number) = value::parse_i64(text, true) {
                    return Seen::of_integer(number);
                }
                if value::parse_f64(text, true).is_some() {
                    // A whole number without a point is an integer that is too long for int64, or
                    // -0, which only a double can hold.
                    let whole =
                        !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E' | b'N' | b'n'));
                    return if whole && text != b"-0" { Seen::TEXT } else { Seen::DOUBLE };
                }
                Seen::classify_time(text, formats)
            }
            b't' | b'T' | b'f' | b'F' if value::parse_bool(text, true).is_some() => Seen::BOOLEAN,
            _ if formats.is_iso() => Seen::TEXT,
            _ => Seen::classify_time(text, formats),
        }
    }

    /// Whether a text is a date or a time, else text.
    pub(crate) fn classify_time(text: &[u8], formats: &Formats) -> Seen {
        if formats.parse_date(text).is_some() {
            return Seen::DATE;
        }
        match formats.parse_timestamp(text) {
            Some(instant) if !instant.truncated => {
                if instant.zoned {
                    Seen::INSTANT
                } else {
                    Seen::LOCAL_TIME
                }
            }
            _ => Seen::TEXT,
        }
    }

    pub(crate) fn of_integer(number: i64) -> Seen {
        if number.unsigned_abs() > value::EXACT_DOUBLE as u64 {
            Seen::BIG_INTEGER
        } else {
            Seen::INTEGER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_values() {
        let cases = [
            ("1", Seen::INTEGER),
            (" 1 ", Seen::INTEGER),
            ("-7", Seen::INTEGER),
            ("007", Seen::TEXT),
            ("+49301234", Seen::TEXT),
            ("9007199254740993", Seen::BIG_INTEGER),
            ("92233720368547758070", Seen::TEXT),
            ("1.5", Seen::DOUBLE),
            ("1e3", Seen::DOUBLE),
            ("-0", Seen::DOUBLE),
            ("NaN", Seen::DOUBLE),
            ("1e999", Seen::TEXT),
            ("00.5", Seen::TEXT),
            ("true", Seen::BOOLEAN),
            ("yes", Seen::TEXT),
            ("2013-01-01", Seen::DATE),
            ("2013-02-30", Seen::TEXT),
            ("2013-01-01 05:00:00", Seen::LOCAL_TIME),
            ("2013-01-01T10:00:00Z", Seen::INSTANT),
            ("2013-01-01T10:00:00.000000001Z", Seen::TEXT),
            ("  ", Seen::TEXT),
            ("Ünïcode", Seen::TEXT),
        ];
        for (text, kind) in cases {
            assert_eq!(Seen::classify(text.as_bytes(), &Formats::default()), kind, "{text}");
        }
    }

    #[test]
    fn types_of_sets() {
        let of = |kinds: &[Seen]| {
            kinds.iter().fold(Seen::NOTHING, |set, kind| set.and(*kind)).scalar_type()
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[Seen::INTEGER, Seen::BIG_INTEGER]), Some(DataType::Int64));
        assert_eq!(of(&[Seen::INTEGER, Seen::DOUBLE]), Some(DataType::Float64));
        assert_eq!(of(&[Seen::BIG_INTEGER, Seen::DOUBLE]), Some(DataType::Utf8));
        assert_eq!(
            of(&[Seen::DATE, Seen::LOCAL_TIME]),
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        );
        assert_eq!(of(&[Seen::DATE, Seen::INSTANT]), Some(DataType::Utf8));
        assert_eq!(of(&[Seen::BOOLEAN, Seen::INTEGER]), Some(DataType::Utf8));
    }

    #[test]
    fn names_come_back() {
        let seen = Seen::INTEGER.and(Seen::DOUBLE);
        assert_eq!(Seen::from_names(seen.names()), seen);
    }
}
