//! The SQL prompt: history, completion, statements over several lines.

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::Result;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

const KEYWORDS: [&str; 48] = [
    "select",
    "from",
    "where",
    "group by",
    "order by",
    "having",
    "limit",
    "join",
    "left join",
    "inner join",
    "full outer join",
    "cross join",
    "on",
    "using",
    "as",
    "and",
    "or",
    "not",
    "in",
    "is null",
    "is not null",
    "between",
    "like",
    "ilike",
    "case",
    "when",
    "then",
    "else",
    "end",
    "with",
    "union all",
    "union",
    "distinct",
    "count(*)",
    "sum(",
    "avg(",
    "min(",
    "max(",
    "cast(",
    "coalesce(",
    "over (",
    "partition by",
    "date_trunc(",
    "extract(",
    "explain",
    "describe",
    "show tables",
    "qualify",
];

/// What a line of the prompt asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A statement, without its semicolon.
    Statement(String),
    /// `\d`: the tables, or the columns of one.
    Describe(Option<String>),
    /// `\timing`
    Timing,
    /// `\?`
    Help,
    /// `\q`
    Quit,
    /// Nothing.
    Nothing,
    /// A backslash command that does not exist.
    Unknown(String),
}

impl Request {
    /// Reads what was typed.
    pub(crate) fn parse(text: &str) -> Request {
        let text = text.trim();
        if let Some(command) = text.strip_prefix('\\') {
            let command = command.trim_end_matches(';').trim();
            let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
            return match word {
                "d" | "dt" => {
                    Request::Describe((!rest.trim().is_empty()).then(|| rest.trim().to_owned()))
                }
                "timing" => Request::Timing,
                "?" | "h" | "help" => Request::Help,
                "q" | "quit" => Request::Quit,
                other => Request::Unknown(other.to_owned()),
            };
        }
        let statement = text.trim_end_matches(';').trim();
        match statement {
            "" => Request::Nothing,
            "exit" | "quit" => Request::Quit,
            statement => Request::Statement(statement.to_owned()),
        }
    }
}

/// What the prompt says for `\?`.
pub(crate) const HELP: &str = "\
end a statement with a semicolon; it may span several lines
  \\d           the tables and views
  \\d NAME      the columns of one
  \\timing      print how long statements take, or stop doing so
  \\q           leave (also Ctrl-D)";

/// The prompt.
pub(crate) struct Prompt {
    editor: Editor<Assistant, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// Completes these words (tables and columns) besides SQL's own.
    pub(crate) fn new(words: Vec<String>) -> Result<Prompt> {
        let config = Config::builder()
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Assistant { words }));
        let history = history_file();
        if let Some(history) = &history {
            // The first time there is none.
            let _ = editor.load_history(history);
        }
        Ok(Prompt { editor, history })
    }

    /// The next request; `None` at the end of input. Ctrl-C gives up the line.
    pub(crate) fn next(&mut self) -> Result<Option<Request>> {
        match self.editor.readline("tidemill> ") {
            Ok(line) => {
                if !line.trim().is_empty() {
                    self.editor.add_history_entry(line.as_str())?;
                    if let Some(history) = &self.history {
                        let _ = self.editor.save_history(history);
                    }
                }
                Ok(Some(Request::parse(&line)))
            }
            Err(ReadlineError::Interrupted) => Ok(Some(Request::Nothing)),
            Err(ReadlineError::Eof) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let folder = state.join("tidemill");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}

struct Assistant {
    words: Vec<String>,
}

impl Helper for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// Whether the text is a backslash command, empty, or ends with a semicolon outside of quotes.
fn is_complete(text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() || text.starts_with('\\') || matches!(text, "exit" | "quit") {
        return true;
    }
    let mut quote = None;
    for c in text.chars() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
    }
    quote.is_none() && text.ends_with(';')
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(candidates(&self.words, line, position))
    }
}

fn candidates(words: &[String], line: &str, position: usize) -> (usize, Vec<Pair>) {
    let before = &line[..position];
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let typed = before[start..].to_lowercase();
    if typed.is_empty() {
        return (start, Vec::new());
    }
    let mut found: Vec<Pair> = words
        .iter()
        .map(String::as_str)
        .chain(KEYWORDS)
        .filter(|word| word.to_lowercase().starts_with(&typed))
        .map(|word| Pair { display: word.to_owned(), replacement: word.to_owned() })
        .collect();
    found.dedup_by(|left, right| left.display == right.display);
    (start, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon_outside_of_quotes() {
        for (text, complete) in [
            ("select 1", false),
            ("select 1;", true),
            ("select ';", false),
            ("select ';';", true),
            ("\\d orders", true),
            ("", true),
        ] {
            assert_eq!(is_complete(text), complete, "{text}");
        }
    }

    #[test]
    fn requests_are_read() {
        assert_eq!(Request::parse(" select 1 ; "), Request::Statement("select 1".to_owned()));
        assert_eq!(Request::parse("\\d a.b"), Request::Describe(Some("a.b".to_owned())));
        assert_eq!(Request::parse("\\q"), Request::Quit);
        assert_eq!(Request::parse(";"), Request::Nothing);
    }

    #[test]
    fn completion_offers_tables_and_keywords() {
        let words = vec!["main.orders".to_owned(), "order_id".to_owned()];
        let (start, found) = candidates(&words, "select * from main.o", 20);
        assert_eq!((start, found.len()), (14, 1));
        let (_, found) = candidates(&words, "select ord", 10);
        let found: Vec<&str> = found.iter().map(|pair| pair.display.as_str()).collect();
        assert_eq!(found, ["order_id", "order by"]);
    }
}
