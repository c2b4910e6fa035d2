//! Inlined models: their queries become the first common table expressions of the query that
//! refers to them.

/// One inlined model: its name and its own query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inlined {
    /// `__dbt__cte__NAME`
    pub(crate) name: String,
    /// Its query, without the inlined models that it refers to itself.
    pub(crate) sql: String,
    /// The same in the SQL that runs, where it is written in another dialect.
    pub(crate) translated: Option<String>,
}

impl Inlined {
    /// With the query that runs.
    pub(crate) fn running(self) -> Inlined {
        let sql = self.translated.unwrap_or(self.sql);
        Inlined { name: self.name, sql, translated: None }
    }
}

/// Puts the expressions in front of a query, into its `with` where it has one.
pub(crate) fn inject(sql: &str, inlined: &[Inlined]) -> String {
    if inlined.is_empty() {
        return sql.to_owned();
    }
    let expressions: Vec<String> = inlined
        .iter()
        .map(|model| format!(" {} as (\n{}\n)", model.name, model.sql.trim_end()))
        .collect();
    let expressions = expressions.join(", ");
    match with_end(sql) {
        Some((start, end)) => {
            format!("{}{}{expressions},{}", &sql[..start], &sql[start..end], &sql[end..])
        }
        None => {
            let start = skip_blank(sql, 0);
            format!("{}with {expressions}\n{}", &sql[..start], &sql[start..])
        }
    }
}

/// Where the leading `with` (or `with recursive`) of a query begins and ends.
fn with_end(sql: &str) -> Option<(usize, usize)> {
    let start = skip_blank(sql, 0);
    let end = word(sql, start, "with")?;
    let after = skip_blank(sql, end);
    match word(sql, after, "recursive") {
        Some(end) => Some((start, end)),
        None => Some((start, end)),
    }
}

/// The end of a word that stands at a place.
fn word(sql: &str, at: usize, expected: &str) -> Option<usize> {
    let end = at + expected.len();
    let found = sql.get(at..end)?;
    let follows = sql[end..].chars().next();
    let ends = follows.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
    (found.eq_ignore_ascii_case(expected) && ends).then_some(end)
}

/// Skips white space and comments.
fn skip_blank(sql: &str, mut at: usize) -> usize {
    loop {
        let rest = &sql[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.starts_with("--") {
            at += trimmed.find('\n').map_or(trimmed.len(), |end| end + 1);
        } else if trimmed.starts_with("/*") {
            at += crate::normalize::block_comment_end(trimmed);
        } else {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_come_first_in_the_right_place() {
        let inlined = [
            Inlined { name: "__dbt__cte__a".into(), sql: "select 1 as x".into(), translated: None },
            Inlined {
                name: "__dbt__cte__b".into(),
                sql: "select * from __dbt__cte__a\n".into(),
                translated: None,
            },
        ];
        let both = " __dbt__cte__a as (\nselect 1 as x\n),  __dbt__cte__b as (\nselect * from __dbt__cte__a\n)";
        for (sql, expected) in [
            ("select * from __dbt__cte__b", format!("with {both}\nselect * from __dbt__cte__b")),
            ("with c as (select 1)\nselect 2", format!("with{both}, c as (select 1)\nselect 2")),
            (
                "-- with love\n/* and /* nested */ with */ WITH RECURSIVE c as (select 1) select 2",
                format!(
                    "-- with love\n/* and /* nested */ with */ WITH RECURSIVE{both}, c as (select 1) select 2"
                ),
            ),
            ("withdrawals", format!("with {both}\nwithdrawals")),
        ] {
            assert_eq!(inject(sql, &inlined), expected);
        }
        assert_eq!(inject("select 1", &[]), "select 1");
    }
}
