//! DataFusion's messages in the words of SQL: no names of its types, no printed syntax trees.

use std::sync::LazyLock;

use regex::{Captures, Regex};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("invariant: a constant pattern")
}

macro_rules! patterns {
    ($($name:ident = $text:literal;)*) => {$(
        static $name: LazyLock<Regex> = LazyLock::new(|| pattern($text));
    )*};
}

patterns! {
    NODE = r"(?i)unsupported ast node(?: in sqltorel)?:? *(\w+)";
    JOIN = r"Unsupported JOIN operator (\w+)";
    COERCION = r"(?s)user-defined coercion failed with: (?:Error during planning: )?(.*?)\.? No function matches";
    COUNT = r"[Ff]unction '(\w+)' expects (\d+) arguments? but received (\d+)";
    RECEIVED = r"[Ff]unction '(\w+)' (?s:.*?)but received [^(]*\(DataType: ([^)]*\)?)\)";
    SIGNATURE = r"No function matches the given name and argument types '(\w+)\((.*?)\)'\.";
    SUBQUERY = r"(?:does not support logical expression|Unsupported) (?:Exists|InSubquery|ScalarSubquery|OuterReferenceColumn|SetComparison)";
    UNGROUPED = r#"column "([^"]+)" must appear in the GROUP BY clause"#;
    PLACES = r"subquery can only be used in .* but was used in";
    GOT = r"(?s), got [A-Z]\w+[({].*$";
    OVERFLOW = r"^(?:Arithmetic overflow: )?Overflow happened on:? (.+)$";
    ARRAY = r"^\w+Array overflow on (.+)$";
    RANGE = r"^Can't cast value (.+?) to type (.+)$";
    TYPE = r#"\b(?:Utf8View|LargeUtf8|Utf8|Boolean|U?Int(?:8|16|32|64)|Float(?:16|32|64)|Date(?:32|64)|Decimal\d+\(\d+, ?-?\d+\)|Timestamp\([^()]*(?:\([^()]*\))?[^()]*\)|Time\d+\([^()]*\)|Duration\([^()]*\)|Interval\([^()]*\)|BinaryView|Binary)"#;
}

/// The message in plain words, where it is one of those that are known.
pub(crate) fn in_plain_words(text: &str) -> String {
    if let Some(found) = COERCION.captures(text) {
        return found[1].to_owned();
    }
    if let Some(found) = NODE.captures(text).or_else(|| JOIN.captures(text)) {
        return format!("`{}` is not supported in this place", found[1].to_lowercase());
    }
    if SUBQUERY.is_match(text) || PLACES.is_match(text) || text.contains("OuterReferenceColumn(") {
        return "a subquery that stands here, or that refers to the outer query in this way, is \
                not supported; join its relation instead"
            .to_owned();
    }
    if let Some(found) = COUNT.captures(text).filter(|_| !RECEIVED.is_match(text)) {
        return format!("`{}` takes {} arguments, not {}", &found[1], &found[2], &found[3]);
    }
    if let Some(found) = RECEIVED.captures(text) {
        return format!("`{}` does not take {}", &found[1], sql_type(&found[2]));
    }
    if let Some(found) = SIGNATURE.captures(text) {
        return format!("`{}` does not take ({})", &found[1], with_sql_types(&found[2]));
    }
    if let Some(found) = UNGROUPED.captures(text) {
        return format!(
            "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
            &found[1]
        );
    }
    if let Some(found) = OVERFLOW.captures(text).or_else(|| ARRAY.captures(text)) {
        return format!("number out of range: {}", &found[1]);
    }
    if let Some(found) = RANGE.captures(text) {
        return format!("{} out of range: {}", sql_type(&found[2]), &found[1]);
    }
    with_sql_types(&GOT.replace(text, ""))
}

/// Names of types that stand by themselves; `Int64(1)` is a literal of an expression.
fn with_sql_types(text: &str) -> String {
    TYPE.replace_all(text, |found: &Captures| {
        let end = found.get(0).map_or(0, |whole| whole.end());
        let literal = text[end..].starts_with('(') || text[end..].starts_with("Array");
        if literal { found[0].to_owned() } else { sql_type(&found[0]) }
    })
    .into_owned()
}

/// A type of Arrow by its name in SQL.
pub(crate) fn sql_type(name: &str) -> String {
    let plain = match name {
        "Utf8" | "Utf8View" | "LargeUtf8" => "text",
        "Boolean" => "boolean",
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" | "UInt64" => "bigint",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Date32" | "Date64" => "date",
        "Binary" | "BinaryView" => "bytea",
        name if name.starts_with("Decimal") => {
            let digits = name.find('(').map_or("", |start| &name[start..]);
            return format!("numeric{}", digits.replace(' ', ""));
        }
        name if name.starts_with("Timestamp") => {
            if name.contains('"') {
                "timestamptz"
            } else {
                "timestamp"
            }
        }
        name if name.starts_with("Time") => "time",
        name if name.starts_with("Duration") || name.starts_with("Interval") => "interval",
        name if name.starts_with("List") => "an array",
        name if name.starts_with("Struct") => "a struct",
        other => other,
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_names_of_arrow_types_and_no_trees() {
        for (text, expected) in [
            (
                "Function 'upper' requires String, but received Int64 (DataType: Int64).. No function matches the given name and argument types 'upper(Int64)'. You might need to add explicit type casts.\n\tCandidate functions:\n\tupper(String)",
                "`upper` does not take bigint",
            ),
            (
                "Function 'decode' expects 2 arguments but received 4. No function matches the given name and argument types 'decode(Int64, Utf8)'.",
                "`decode` takes 2 arguments, not 4",
            ),
            (
                "Function 'to_char' user-defined coercion failed with: Error during planning: `to_char` formats dates, not interval. No function matches the given name",
                "`to_char` formats dates, not interval",
            ),
            (
                "Unsupported ast node in sqltorel: Collate { expr: Identifier(Ident { value: \"c\" }) }",
                "`collate` is not supported in this place",
            ),
            (
                "Cannot cast string 'x' to value of Int64 type",
                "Cannot cast string 'x' to value of bigint type",
            ),
            ("Can't cast value 3000000000 to type Int32", "integer out of range: 3000000000"),
            (
                "Cannot coerce arithmetic expression Utf8 + Decimal128(38, 10) to valid types",
                "Cannot coerce arithmetic expression text + numeric(38,10) to valid types",
            ),
            ("column count(Int64(1)) is twice there", "column count(Int64(1)) is twice there"),
        ] {
            assert_eq!(in_plain_words(text), expected);
        }
        let text = "Physical plan does not support logical expression Exists(Exists { subquery: <subquery>, negated: false })";
        assert!(in_plain_words(text).contains("join its relation instead"));
    }
}
