//! Column names: the written rule from a header to a name.
//!
//! 1. Blanks around the header go.
//! 2. A new word begins at a capital letter behind a small letter or digit, and at the last capital
//!    of a run that a small letter follows (`tailNum`, `HTTPCode`).
//! 3. Everything becomes lower case, and each run of what is neither letter nor digit one `_`.
//! 4. `_` goes at the end, and at the start unless the header starts with one.
//! 5. A name that starts with a digit gets a `_` in front.
//! 6. An empty header is `column_<n>`, counted from 1.
//! 7. The second column with a name gets `_2`, the third `_3`.
//!
//! `names: as_written` is dbt's rule for seeds instead: the header as it is, a letter for an empty
//! one, and rule 7.
//!
//! The header as it was written stays in the field's metadata under [`ORIGINAL_NAME`].

use std::collections::{HashMap, HashSet};

use super::settings::NameStyle;

/// The key of a field's metadata that holds the header as written, where it differs.
pub const ORIGINAL_NAME: &str = "original_name";

/// The name of one header (without rule 7).
pub(crate) fn snake_case(header: &str, position: usize) -> String {
    let header = header.trim();
    let mut name = String::with_capacity(header.len() + 4);
    if header.starts_with('_') {
        name.push('_');
    }
    let letters: Vec<char> = header.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            if !name.ends_with('_') && !name.is_empty() {
                name.push('_');
            }
            continue;
        }
        let before = index.checked_sub(1).map(|at| letters[at]);
        let next = letters.get(index + 1);
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && next.is_some_and(|next| next.is_lowercase()))
            });
        if starts_word && !name.ends_with('_') {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    while name.ends_with('_') {
        name.pop();
    }
    if name.is_empty() {
        return format!("column_{position}");
    }
    if name.starts_with(|first: char| first.is_numeric()) {
        name.insert(0, '_');
    }
    name
}

/// The names of a file's headers by the written rule, each once.
pub fn column_names<S: AsRef<str>>(headers: &[S]) -> Vec<String> {
    unique(headers, |header, index| snake_case(header, index + 1))
}

/// The names of a file's headers as they are written, each once. One in quotes of its own
/// (`"""default"""` in the file) is written as SQL has it: the name is what they enclose.
pub(crate) fn written_names<S: AsRef<str>>(headers: &[S]) -> Vec<String> {
    unique(headers, |header, index| match unquoted(header) {
        "" => letters(index),
        header => header.to_owned(),
    })
}

/// The names that DuckDB gives: as they are written without the blanks around them, `x_1` for the
/// second `x` (`X`), `column3` for an empty one.
pub(crate) fn duckdb_names<S: AsRef<str>>(headers: &[S]) -> Vec<String> {
    let digits = headers.len().saturating_sub(1).max(1).ilog10() as usize + 1;
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    let mut names = Vec::with_capacity(headers.len());
    for (index, header) in headers.iter().enumerate() {
        let name = match header.as_ref().trim() {
            "" => format!("column{index:0digits$}"),
            header => header.to_owned(),
        };
        let count = counts.entry(name.to_lowercase()).or_default();
        let mut unique = name.clone();
        while !taken.insert(unique.to_lowercase()) {
            *count += 1;
            unique = format!("{name}_{count}");
        }
        names.push(unique);
    }
    names
}

/// The names of columns by this rule.
pub(crate) fn names_in<S: AsRef<str>>(style: NameStyle, headers: &[S]) -> Vec<String> {
    match style {
        NameStyle::SnakeCase => column_names(headers),
        NameStyle::AsWritten => written_names(headers),
        NameStyle::DuckDb => duckdb_names(headers),
    }
}

/// What quotes enclose, where they enclose the whole header.
pub fn unquoted(header: &str) -> &str {
    let inner = header.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    inner.filter(|inner| !inner.is_empty() && !inner.contains('"')).unwrap_or(header)
}

/// `a` to `z`, then `aa` to `zz`, and so on.
fn letters(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    std::iter::repeat_n(letter, index / 26 + 1).collect()
}

fn unique<S: AsRef<str>>(headers: &[S], name: impl Fn(&str, usize) -> String) -> Vec<String> {
    let mut taken = HashSet::new();
    headers
        .iter()
        .enumerate()
        .map(|(index, header)| {
            let name = name(header.as_ref(), index);
            let mut unique = name.clone();
            let mut count = 1;
            while !taken.insert(unique.clone()) {
                count += 1;
                unique = format!("{name}_{count}");
            }
            unique
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("dep_time", "dep_time"),
            ("tailNum", "tail_num"),
            ("TailNum", "tail_num"),
            ("ID", "id"),
            ("userID", "user_id"),
            ("HTTPCode", "http_code"),
            ("  First  Name ", "first_name"),
            ("% of total (EUR)", "of_total_eur"),
            ("_internal", "_internal"),
            ("2013", "_2013"),
            ("Größe", "größe"),
            ("a-b.c", "a_b_c"),
            ("", "column_1"),
            ("??", "column_1"),
        ];
        for (header, name) in cases {
            assert_eq!(snake_case(header, 1), name, "{header}");
        }
    }

    #[test]
    fn names_as_written() {
        assert_eq!(
            written_names(&["Customer_Id", " a, b", "", "x", "x", "X"]),
            ["Customer_Id", " a, b", "c", "x", "x_2", "X"]
        );
        assert_eq!(letters(27), "bb");
    }

    #[test]
    fn names_of_duckdb() {
        assert_eq!(
            duckdb_names(&["a", "PTS", "", "PTS", "", "c", "pts"]),
            ["a", "PTS", "column2", "PTS_1", "column4", "c", "pts_2"]
        );
        let many = duckdb_names(&["x", "", "", "", "", "", "", "", "", "", ""]);
        assert_eq!((&*many[1], &*many[10]), ("column01", "column10"));
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(
            column_names(&["a", "A", "a_2", "", "a"]),
            ["a", "a_2", "a_2_2", "column_4", "a_3"]
        );
    }

    #[test]
    fn names_as_they_are_written() {
        let headers = ["id", "", "\"default\"", "id", "a\"b", "\"\""];
        assert_eq!(written_names(&headers), ["id", "b", "default", "id_2", "a\"b", "\"\""]);
    }

    #[test]
    fn names_as_duckdb_gives_them() {
        let headers = ["id", " BMI ", " ", "a b", "ID", "bmi"];
        assert_eq!(duckdb_names(&headers), ["id", "BMI", "column2", "a b", "ID_1", "bmi_1"]);
    }
}
