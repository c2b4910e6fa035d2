//! The columns of a table as they were at a place of the log.

use serde::{Deserialize, Serialize};

use super::event::{MapColumn, TableMap};

/// A column, as `information_schema` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogColumn {
    pub(super) name: String,
    /// The type in MySQL's words: `decimal(10,2) unsigned`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) charset: Option<String>,
    /// The server computes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) generated: bool,
}

impl LogColumn {
    /// The word of the type.
    pub(super) fn word(&self) -> &str {
        self.kind.split(['(', ' ']).next().unwrap_or_default()
    }

    pub(super) fn is_unsigned(&self) -> bool {
        self.kind.split(' ').any(|word| word == "unsigned")
    }

    /// What stands in parentheses behind the word.
    fn arguments(&self) -> &str {
        let inner = self.kind.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        inner.map_or("", |(inner, _)| inner)
    }

    /// The numbers in parentheses.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.arguments().split(',').filter_map(|number| number.trim().parse().ok()).collect()
    }

    /// The words of an `enum` or a `set`.
    pub(super) fn labels(&self) -> Vec<String> {
        let mut labels = Vec::new();
        let mut chars = self.arguments().chars().peekable();
        while chars.find(|c| *c == '\'').is_some() {
            let mut label = String::new();
            while let Some(c) = chars.next() {
                match c {
                    '\'' if chars.peek() == Some(&'\'') => {
                        label.push('\'');
                        chars.next();
                    }
                    '\'' => break,
                    c => label.push(c),
                }
            }
            labels.push(label);
        }
        labels
    }

    /// Whether values of it stand in the log in this form.
    fn has_form(&self, column: MapColumn) -> bool {
        let whole = self.numbers().first().is_none_or(|digits| *digits == 0);
        match self.word() {
            "tinyint" | "boolean" => column.code == 1,
            "smallint" => column.code == 2,
            "mediumint" => column.code == 9,
            "int" | "integer" => column.code == 3,
            "bigint" => column.code == 8,
            "float" => column.code == 4,
            "double" | "real" => column.code == 5,
            "decimal" | "numeric" => {
                let meta = column.meta.map(usize::from);
                column.code == 246 && self.numbers() == meta
            }
            "date" => matches!(column.code, 10 | 14),
            // Those of old tables have no fractions.
            "datetime" => column.code == 18 || column.code == 12 && whole,
            "timestamp" => column.code == 17 || column.code == 7 && whole,
            "time" => column.code == 19 || column.code == 11 && whole,
            "year" => column.code == 13,
            "bit" => column.code == 16,
            "enum" => column.code == 247,
            "set" => column.code == 248,
            "char" | "binary" | "uuid" | "inet4" | "inet6" => column.code == 254,
            "varchar" | "varbinary" => matches!(column.code, 15 | 253 | 141),
            "tinytext" | "text" | "mediumtext" | "longtext" | "tinyblob" | "blob"
            | "mediumblob" | "longblob" => matches!(column.code, 249..=252 | 140),
            "json" => matches!(column.code, 245 | 249..=252),
            "vector" => matches!(column.code, 242 | 252),
            // Geometry and its kinds.
            _ => column.code == 255,
        }
    }

    /// The same, as a smaller or larger number of this form.
    fn as_integer(&self, form: MapColumn) -> Option<LogColumn> {
        let word = match form.code {
            1 => "tinyint",
            2 => "smallint",
            9 => "mediumint",
            3 => "int",
            8 => "bigint",
            _ => return None,
        };
        let sign = if self.is_unsigned() { " unsigned" } else { "" };
        let numbers = ["tinyint", "smallint", "mediumint", "int", "bigint"];
        let column = LogColumn { kind: format!("{word}{sign}"), ..self.clone() };
        numbers.contains(&self.word()).then_some(column)
    }

    /// Whether a column that was this one and is that one now has the values that it had.
    fn stays_in(&self, now: &LogColumn) -> bool {
        const INTEGERS: [&str; 5] = ["tinyint", "smallint", "mediumint", "int", "bigint"];
        const TEXTS: [&str; 6] = ["char", "varchar", "tinytext", "text", "mediumtext", "longtext"];
        const BYTES: [&str; 5] = ["varbinary", "tinyblob", "blob", "mediumblob", "longblob"];
        if self.kind == now.kind && self.charset == now.charset {
            return true;
        }
        let wider = |words: &[&str]| {
            let place = |column: &LogColumn| words.iter().position(|word| *word == column.word());
            matches!((place(self), place(now)), (Some(was), Some(is)) if is >= was)
        };
        let longer = || match (self.numbers().first(), now.numbers().first()) {
            (Some(was), Some(is)) => is >= was,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        if wider(&INTEGERS) {
            return self.is_unsigned() == now.is_unsigned();
        }
        if wider(&TEXTS) {
            let charset = self.charset == now.charset
                || now.charset.as_deref().is_some_and(|charset| charset.starts_with("utf8mb4"));
            return charset && longer();
        }
        if wider(&BYTES) {
            return longer();
        }
        if self.word() == "float" && now.word() == "double" {
            return true;
        }
        if self.word() != now.word() || self.charset != now.charset {
            return false;
        }
        match self.word() {
            "decimal" | "numeric" => match (&self.numbers()[..], &now.numbers()[..]) {
                ([digits, scale], [now_digits, now_scale]) => {
                    let signed = self.is_unsigned() || !now.is_unsigned();
                    signed && now_scale >= scale && now_digits - now_scale >= digits - scale
                }
                _ => false,
            },
            "enum" | "set" => now.labels().starts_with(&self.labels()),
            "datetime" | "timestamp" | "time" => {
                let digits = |column: &LogColumn| column.numbers().first().copied().unwrap_or(0);
                digits(now) >= digits(self)
            }
            _ => false,
        }
    }
}

/// What became of the columns, when the rows that are there cannot tell. Those that were `dropped` have no
/// other name now.
pub(super) fn changed(was: &[LogColumn], is: &[LogColumn], dropped: &[String]) -> Option<String> {
    let find =
        |columns: &[LogColumn], name: &str| columns.iter().position(|column| column.name == name);
    let gone: Vec<&str> = was
        .iter()
        .filter(|column| find(is, &column.name).is_none() && !dropped.contains(&column.name))
        .map(|column| column.name.as_str())
        .collect();
    let new: Vec<&str> = is
        .iter()
        .filter(|column| find(was, &column.name).is_none())
        .map(|column| column.name.as_str())
        .collect();
    if !gone.is_empty() && !new.is_empty() {
        return Some(format!(
            "`{}` is gone and `{}` is new: the log does not tell a column with another name from a new one",
            gone.join("`, `"),
            new.join("`, `")
        ));
    }
    was.iter().find_map(|column| {
        let now = &is[find(is, &column.name)?];
        (!column.stays_in(now)).then(|| {
            format!(
                "`{}` was a {} and is a {}, which can change values of rows that the log does not have",
                column.name, column.kind, now.kind
            )
        })
    })
}

/// A column of the log: how its values stand there, and which column that is, if it is one of those that
/// are known.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) form: MapColumn,
    pub(super) column: Option<LogColumn>,
}

/// What is known of the columns at a place of the log.
pub(super) struct Known<'a> {
    /// Those of when the last read ended.
    pub(super) was: &'a [LogColumn],
    /// Those of now.
    pub(super) is: &'a [LogColumn],
    /// How often the table was altered up to this place.
    pub(super) altered: usize,
    /// How often in all.
    pub(super) alterations: usize,
}

impl Known<'_> {
    /// The columns of rows that the log describes so.
    ///
    /// # Errors
    /// Why they cannot be told.
    pub(super) fn places(&self, map: &TableMap) -> Result<Vec<Place>, String> {
        let (first, last) = (self.altered == 0, self.altered == self.alterations);
        let known = match (first, last) {
            (_, true) => Some(self.is),
            (true, false) => Some(self.was),
            (false, false) => None,
        };
        let other = |name: &str| {
            format!(
                "the rows of the log have other columns than the table (`{name}`); with \
                 `binlog_row_metadata = FULL` the server's log has their names"
            )
        };
        let mut places = Vec::with_capacity(map.columns.len());
        if let Some(names) = &map.names {
            for (name, form) in names.iter().zip(&map.columns) {
                let of = |columns: &[LogColumn]| {
                    let fits = |column: &&LogColumn| column.name == *name && column.has_form(*form);
                    columns.iter().find(fits).cloned()
                };
                let column = known.and_then(of).or_else(|| of(self.is)).or_else(|| of(self.was));
                let mut named = self.is.iter().chain(self.was).filter(|one| one.name == *name);
                let column = match (column, named.next()) {
                    (None, Some(named)) => Some(named.as_integer(*form).ok_or_else(|| {
                        format!("`{name}` had another type for a while, with rows")
                    })?),
                    (column, _) => column,
                };
                places.push(Place { form: *form, column });
            }
            return Ok(places);
        }
        let Some(known) = known else {
            return Err(
                "it was altered more than once, with rows between; with `binlog_row_metadata = FULL` the \
                 server's log has the names of columns"
                    .to_owned(),
            );
        };
        if known.len() != map.columns.len() {
            return Err(other(&format!("{} instead of {}", map.columns.len(), known.len())));
        }
        for (column, form) in known.iter().zip(&map.columns) {
            if !column.has_form(*form) {
                return Err(other(&column.name));
            }
            places.push(Place { form: *form, column: Some(column.clone()) });
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> LogColumn {
        let charset = kind.contains("char").then(|| "utf8mb4".to_owned());
        LogColumn { name: name.to_owned(), kind: kind.to_owned(), charset, generated: false }
    }

    #[test]
    fn types_are_read_from_their_words() {
        let labels = column("a", "enum('a','it''s','x,y)')").labels();
        assert_eq!(labels, ["a", "it's", "x,y)"]);
        assert_eq!(column("a", "decimal(10,2) unsigned").numbers(), [10, 2]);
        assert!(column("a", "decimal(10,2) unsigned").is_unsigned());
        assert_eq!(column("a", "int").word(), "int");
    }

    #[test]
    fn a_change_that_leaves_rows_as_they_are_is_told_from_others() {
        for (was, is, stays) in [
            ("int", "bigint", true),
            ("int", "bigint unsigned", false),
            ("bigint", "int", false),
            ("varchar(9)", "varchar(20)", true),
            ("varchar(9)", "varchar(5)", false),
            ("varchar(9)", "text", false),
            ("decimal(10,2)", "decimal(12,4)", true),
            ("decimal(10,2)", "decimal(10,4)", false),
            ("enum('a','b')", "enum('a','b','c')", true),
            ("enum('a','b')", "enum('b','a')", false),
            ("datetime(3)", "datetime(6)", true),
            ("datetime(3)", "datetime", false),
            ("int", "varchar(9)", false),
        ] {
            let changed = changed(&[column("a", was)], &[column("a", is)], &[]);
            assert_eq!(changed.is_none(), stays, "{was} {is}: {changed:?}");
        }
        let (a, b) = ([column("a", "int")], [column("b", "int")]);
        assert!(changed(&a, &b, &[]).is_some());
        assert_eq!(changed(&a, &b, &["a".to_owned()]), None);
        let (both, turned) = ([&a[..], &b[..]].concat(), [&b[..], &a[..]].concat());
        assert_eq!(changed(&a, &turned, &[]), None);
        assert_eq!(changed(&both, &turned, &[]), None);
        assert_eq!(changed(&both, &a, &[]), None);
    }

    #[test]
    fn columns_are_told_by_their_names_or_by_their_places() {
        let (was, is) = (
            [column("a", "int"), column("b", "bigint")],
            [column("a", "int"), column("c", "int"), column("b", "bigint")],
        );
        let form = |code| MapColumn { code, meta: [0; 2] };
        let mut map = TableMap {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: vec![form(3), form(8)],
            names: None,
        };
        let known = |altered, alterations| Known { was: &was, is: &is, altered, alterations };
        let names = |places: Vec<Place>| {
            places.into_iter().map(|place| place.column.unwrap().name).collect::<Vec<_>>()
        };
        assert_eq!(names(known(0, 1).places(&map).unwrap()), ["a", "b"]);
        assert!(known(1, 1).places(&map).is_err());
        assert!(known(1, 2).places(&map).is_err());
        map.columns = vec![form(3), form(3), form(8)];
        assert_eq!(names(known(1, 1).places(&map).unwrap()), ["a", "c", "b"]);
        map.names = Some(["b", "a", "gone"].map(str::to_owned).to_vec());
        map.columns = vec![form(8), form(3), form(3)];
        let places = known(1, 2).places(&map).unwrap();
        assert!(places[2].column.is_none());
        assert_eq!(places[0].column.as_ref().unwrap().name, "b");
    }
}
