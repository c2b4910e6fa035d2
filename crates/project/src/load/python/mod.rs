//! What a Python model asks for, read off its text: nothing of it is run.
//!
//! As in dbt, `dbt.ref`, `dbt.source`, `dbt.config`, `dbt.config.get` and `dbt.config.meta_get` are
//! found wherever they are called, and their arguments have to be literals. The whole grammar is not
//! checked here: that is done by the Python which runs the model.

mod lexer;
mod literal;

use serde_json::Value as Json;
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};

use crate::config::Layer;
use crate::file::SourceFile;
use crate::manifest::{RefCall, SourceCall};
use lexer::{Kind, Word};
use literal::{Arguments, Place, Reader};

/// More than this is not a model that somebody has written.
const MOST_BYTES: usize = 4 << 20;

/// What the file of a Python model says.
#[derive(Debug, Default)]
pub(super) struct PythonModel {
    pub(super) refs: Vec<(RefCall, SourcePosition)>,
    pub(super) sources: Vec<(SourceCall, SourcePosition)>,
    pub(super) config: Layer,
    /// Where its function stands.
    pub(super) function: Place,
}

/// Reads a file; `None` for one without a statement, or with mistakes that were reported.
pub(super) fn read(file: &SourceFile, diagnostics: &mut Diagnostics) -> Option<PythonModel> {
    let text: &str = &file.text;
    if text.len() > MOST_BYTES {
        diagnostics.push(
            Diagnostic::error("python-syntax", "the Python model is larger than 4 MiB")
                .in_file(&file.path),
        );
        return None;
    }
    if let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|mark| text.find(mark)).min() {
        diagnostics.push(
            Diagnostic::error("python-jinja", "a Python model cannot have Jinja in it")
                .at(file.position(at, at + 2))
                .label("this begins a template")
                .hint(
                    "put the value under `config:` of the model in a YAML file, where templates are \
                     rendered, and read it with `dbt.config.get`; braces of Python need a space \
                     between them",
                ),
        );
        return None;
    }
    let words = match lexer::words(text) {
        Ok(words) => words,
        Err(mistake) => {
            diagnostics.push(
                Diagnostic::error("python-syntax", "the file is not Python")
                    .at(file.position(mistake.start, mistake.end))
                    .label(mistake.message),
            );
            return None;
        }
    };
    if words.is_empty() {
        diagnostics.push(
            Diagnostic::warning("empty-python-model", "the Python file is empty: it is no model")
                .in_file(&file.path),
        );
        return None;
    }
    let mut finder = Finder {
        file,
        words: &words,
        diagnostics,
        model: PythonModel::default(),
        keys: Default::default(),
    };
    let functions = finder.functions();
    let [function] = functions.as_slice() else {
        let place = functions.get(1).map_or((0, 0), |second| second.name);
        finder.wrong(
            place,
            &format!(
                "a Python model has one function `model`, and this file has {}",
                functions.len()
            ),
            "write `def model(dbt, session):` and return a data frame",
        );
        return None;
    };
    finder.form(function);
    finder.calls();
    let Finder { mut model, keys, .. } = finder;
    model.function = function.name;
    for (key, value) in kept(keys) {
        model.config.set(key, value, None);
    }
    Some(model)
}

/// The keys that a model reads, with their defaults: of its configuration, and of its `meta`.
type Keys = [Vec<(Json, Json)>; 2];

/// Keys under the names that dbt keeps them in the configuration.
fn kept([config, meta]: Keys) -> Vec<(&'static str, Json)> {
    if config.is_empty() && meta.is_empty() {
        return Vec::new();
    }
    let split = |pairs: Vec<(Json, Json)>| -> (Json, Json) {
        let (keys, defaults): (Vec<Json>, Vec<Json>) = pairs.into_iter().unzip();
        (keys.into(), defaults.into())
    };
    let (keys, defaults) = split(config);
    let (meta_keys, meta_defaults) = split(meta);
    vec![
        ("config_keys_used", keys),
        ("config_keys_defaults", defaults),
        ("meta_keys_used", meta_keys),
        ("meta_keys_defaults", meta_defaults),
    ]
}

/// A function `model`.
struct Function {
    name: Place,
    /// Its parameters, from bracket to bracket.
    parameters: (usize, usize),
    /// The words of its body.
    body: (usize, usize),
}

struct Finder<'d> {
    file: &'d SourceFile,
    words: &'d [Word],
    diagnostics: &'d mut Diagnostics,
    model: PythonModel,
    keys: Keys,
}

impl Finder<'_> {
    fn text(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| match word.kind {
            Kind::Name | Kind::Mark | Kind::Number => &self.file.text[word.start..word.end],
            _ => "",
        })
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        self.words.get(at).map(|word| word.kind)
    }

    fn starts_line(&self, at: usize) -> bool {
        at == 0 || matches!(self.kind(at - 1), Some(Kind::Line | Kind::Indent | Kind::Dedent))
    }

    /// The functions called `model` that stand in no other function.
    fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.words.len() {
            if !(self.starts_line(at) && matches!(self.text(at), "def" | "async")) {
                at += 1;
                continue;
            }
            let name = at + 1;
            let open = name + 1;
            let end = self.block_end(at);
            if self.text(at) == "def" && self.text(name) == "model" && self.text(open) == "(" {
                let close = self.closing(open);
                let word = self.words[name];
                found.push(Function {
                    name: (word.start, word.end),
                    parameters: (open, close),
                    body: (self.body_start(close), end),
                });
            }
            at = end.max(at + 1);
        }
        found
    }

    /// The bracket that closes this one.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for at in open..self.words.len() {
            match self.text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        self.words.len()
    }

    /// The first word behind the colon of a block's head.
    fn body_start(&self, mut at: usize) -> usize {
        let mut depth = 0;
        at += 1;
        while at < self.words.len() && self.kind(at) != Some(Kind::Line) {
            match self.text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                ":" if depth == 0 => {
                    let block = self.kind(at + 1) == Some(Kind::Line)
                        && self.kind(at + 2) == Some(Kind::Indent);
                    return if block { at + 3 } else { at + 1 };
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// The end of the block that begins with the line here.
    fn block_end(&self, start: usize) -> usize {
        let mut at = start;
        while at < self.words.len() && self.kind(at) != Some(Kind::Line) {
            at += 1;
        }
        if self.kind(at + 1) != Some(Kind::Indent) {
            return at;
        }
        let mut depth = 0;
        for at in at + 1..self.words.len() {
            match self.kind(at) {
                Some(Kind::Indent) => depth += 1,
                Some(Kind::Dedent) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        self.words.len()
    }

    /// What dbt asks of the function's form.
    fn form(&mut self, function: &Function) {
        let (open, close) = function.parameters;
        let mut names = Vec::new();
        let mut depth = 0;
        for at in open..close {
            let first = matches!(self.text(at - 1), "(" | ",") && depth == 1;
            match self.text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                // What follows is given by name alone.
                "*" | "**" if first => break,
                text if first && self.kind(at) == Some(Kind::Name) => names.push(text.to_owned()),
                _ => {}
            }
        }
        if names.len() != 2 || names[0] != "dbt" {
            let end = self.words.get(close).map_or(function.name.1, |word| word.end);
            self.wrong(
                (self.words[open].start, end),
                "the function `model` takes two arguments, `dbt` and a session",
                "write `def model(dbt, session):`",
            );
        }
        let (statement, yields) = self.last_statement(function);
        if yields {
            return;
        }
        let (start, end) = statement;
        let place = match (self.words.get(start), self.words.get(end.saturating_sub(1))) {
            (Some(first), Some(last)) if start < end => (first.start, last.end),
            _ => function.name,
        };
        if self.text(start) != "return" || end <= start + 1 || self.is_tuple(start + 1, end) {
            self.wrong(
                place,
                "the last statement of `model` has to return one data frame",
                "end the function with `return df`",
            );
        }
    }

    /// The last statement of a function's body, and whether the function gives its rows one by one.
    fn last_statement(&self, function: &Function) -> ((usize, usize), bool) {
        let (start, end) = function.body;
        let (mut at, mut level, mut depth) = (start, 0, 0);
        let (mut last, mut yields) = (start, false);
        while at < end {
            if level == 0 && self.starts_line(at) && self.kind(at) != Some(Kind::Dedent) {
                last = at;
            }
            if self.starts_line(at) && matches!(self.text(at), "def" | "class" | "async") {
                let end = self.block_end(at).max(at + 1);
                at = end + usize::from(self.kind(end) == Some(Kind::Dedent));
                continue;
            }
            match (self.kind(at), self.text(at)) {
                (Some(Kind::Indent), _) => level += 1,
                (Some(Kind::Dedent), _) => level -= 1,
                (_, "(" | "[" | "{") => depth += 1,
                (_, ")" | "]" | "}") => depth -= 1,
                (_, ";") if depth == 0 && level == 0 => last = at + 1,
                (Some(Kind::Name), "yield") => yields = true,
                _ => {}
            }
            at += 1;
        }
        let mut finish = last;
        while finish < self.words.len() && !matches!(self.kind(finish), Some(Kind::Line)) {
            finish += 1;
        }
        ((last, finish), yields)
    }

    /// Whether these words are several values.
    fn is_tuple(&self, start: usize, end: usize) -> bool {
        let whole = self.text(start) == "(" && self.closing(start) + 1 == end;
        let (start, end) = if whole { (start + 1, end - 1) } else { (start, end) };
        let mut depth = 0;
        let mut lambda = false;
        (start..end).any(|at| {
            match self.text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                "lambda" => lambda = true,
                ":" => lambda = false,
                _ => {}
            }
            depth == 0 && !lambda && self.text(at) == ","
        })
    }

    /// Every call of `dbt`'s that is understood here.
    fn calls(&mut self) {
        for at in 0..self.words.len() {
            let own = self.text(at) == "dbt"
                && self.kind(at) == Some(Kind::Name)
                && (at == 0 || self.text(at - 1) != ".")
                && self.text(at + 1) == ".";
            if !own {
                continue;
            }
            let member = self.text(at + 2).to_owned();
            let (name, open) = match (member.as_str(), self.text(at + 3)) {
                ("ref" | "source" | "config", "(") => (format!("dbt.{member}"), at + 3),
                ("config", ".") if self.text(at + 5) == "(" => {
                    (format!("dbt.config.{}", self.text(at + 4)), at + 5)
                }
                _ => continue,
            };
            if !matches!(self.text(at + 4), "get" | "meta_get") && name.matches('.').count() == 2 {
                continue;
            }
            let mut reader = Reader { text: &self.file.text, words: self.words, at: open };
            let arguments = reader.arguments();
            let whole = (self.words[at].start, arguments.end.max(self.words[open].end));
            if let Some(place) = arguments.wrong {
                self.wrong(
                    place,
                    &format!("the arguments of {name}() have to be literals"),
                    "what is read here has to be known before the model runs: write the value itself",
                );
                continue;
            }
            match name.as_str() {
                "dbt.ref" => self.reference(&arguments, whole),
                "dbt.source" => self.source(&arguments, whole),
                "dbt.config" => self.config(arguments, whole),
                _ => self.key(&name, arguments, whole),
            }
        }
    }

    fn reference(&mut self, arguments: &Arguments, whole: Place) {
        let texts: Option<Vec<&str>> =
            arguments.values.iter().map(|(value, _)| value.as_str()).collect();
        let (package, name) = match texts.as_deref() {
            Some([name]) => (None, *name),
            Some([package, name]) => (Some((*package).to_owned()), *name),
            _ => {
                self.wrong(
                    whole,
                    "dbt.ref() takes the name of a model, or a package and a name",
                    "write `dbt.ref(\"orders\")`",
                );
                return;
            }
        };
        let version = arguments.named.iter().find(|(name, ..)| matches!(&**name, "v" | "version"));
        let version = version.filter(|(_, value, _)| !value.is_null());
        let version = version.map(|(_, value, _)| match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        });
        let found = RefCall { package, name: name.to_owned(), version, span: Some(whole) };
        let same = |known: &RefCall| {
            (&known.package, &known.name, &known.version)
                == (&found.package, &found.name, &found.version)
        };
        if !self.model.refs.iter().any(|(known, _)| same(known)) {
            let place = self.last_text(arguments, whole);
            self.model.refs.push((found, place));
        }
    }

    fn source(&mut self, arguments: &Arguments, whole: Place) {
        let [(Json::String(source), _), (Json::String(table), _)] = arguments.values.as_slice()
        else {
            self.wrong(
                whole,
                "dbt.source() takes two arguments, the source and the table",
                "write `dbt.source(\"shop\", \"orders\")`",
            );
            return;
        };
        let found = SourceCall { source: source.clone(), table: table.clone(), span: Some(whole) };
        let same =
            |known: &SourceCall| (&known.source, &known.table) == (&found.source, &found.table);
        if !self.model.sources.iter().any(|(known, _)| same(known)) {
            let place = self.last_text(arguments, whole);
            self.model.sources.push((found, place));
        }
    }

    fn config(&mut self, arguments: Arguments, whole: Place) {
        let mut layer = Layer::default();
        match arguments.values.as_slice() {
            [] => {}
            [(Json::Object(map), place)] if arguments.named.is_empty() => {
                for (key, value) in map {
                    layer.set(key, value.clone(), Some(self.file.position(place.0, place.1)));
                }
            }
            _ => {
                self.wrong(
                    whole,
                    "dbt.config() takes its settings by name",
                    "write `dbt.config(materialized=\"table\")`",
                );
                return;
            }
        }
        for (name, value, place) in arguments.named {
            layer.set(&name, value, Some(self.file.position(place.0, place.1)));
        }
        self.model.config.apply(&layer);
    }

    fn key(&mut self, name: &str, arguments: Arguments, whole: Place) {
        let mut values = arguments.values.into_iter().map(|(value, _)| value);
        let number = values.len();
        let (Some(key), 1..=2) = (values.next(), number) else {
            self.wrong(
                whole,
                &format!("{name}() takes a key and perhaps a default, not {number} arguments"),
                "write `dbt.config.get(\"key\", default)`",
            );
            return;
        };
        let list = usize::from(name == "dbt.config.meta_get");
        self.keys[list].push((key, values.next().unwrap_or_default()));
    }

    /// The last argument, without its quotes.
    fn last_text(&self, arguments: &Arguments, whole: Place) -> SourcePosition {
        let (mut start, mut end) = arguments.values.last().map_or(whole, |(_, place)| *place);
        let text = &self.file.text[start..end];
        if text.len() >= 2 && text.starts_with(['\'', '"']) && text.ends_with(['\'', '"']) {
            start += 1;
            end -= 1;
        }
        self.file.position(start, end)
    }

    fn wrong(&mut self, place: Place, message: &str, hint: &str) {
        self.diagnostics.push(
            Diagnostic::error("python-model", message.to_owned())
                .at(self.file.position(place.0, place.1))
                .hint(hint),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<PythonModel, String> {
        let mut diagnostics = Diagnostics::new();
        let found = read(&SourceFile::new("models/m.py", text), &mut diagnostics);
        match found {
            Some(model) if !diagnostics.has_errors() => Ok(model),
            _ => Err(diagnostics.to_string()),
        }
    }

    #[test]
    fn calls_are_found_wherever_they_stand() {
        let model = parsed(
            "import pandas as pd\n\
             def helper(dbt):\n    return dbt.source('raw', \"sizes\")\n\
             def model(dbt, session):\n\
             \x20   dbt.config(materialized='incremental', tags=['a', \"b\"], meta={'n': -1, 'f': 1.5})\n\
             \x20   dbt.config(unique_key=('id',))\n\
             \x20   # dbt.ref('comment')\n    text = \"dbt.ref('text')\"; other.dbt.ref(x)\n\
             \x20   if dbt.is_incremental:\n        x = f\"{dbt.ref('c')}\"\n\
             \x20   limit = dbt.config.get('limit', 10) + dbt.config.meta_get('n')\n\
             \x20   frames = {'d': [dbt.ref('pkg', 'd', v=2)]}\n\
             \x20   return dbt.ref('a').join(dbt.ref('b')).df()\n",
        )
        .unwrap();
        let refs: Vec<String> = model
            .refs
            .iter()
            .map(|(call, _)| format!("{:?}.{}.{:?}", call.package, call.name, call.version))
            .collect();
        assert_eq!(
            refs,
            ["None.c.None", "Some(\"pkg\").d.Some(\"2\")", "None.a.None", "None.b.None"]
        );
        assert_eq!(model.sources[0].0.table, "sizes");
        let values = &model.config.values;
        assert_eq!(values["materialized"], "incremental");
        assert_eq!(values["unique_key"], serde_json::json!(["id"]));
        assert_eq!(values["meta"], serde_json::json!({"n": -1, "f": 1.5}));
        assert_eq!(values["config_keys_used"], serde_json::json!(["limit"]));
        assert_eq!(values["config_keys_defaults"], serde_json::json!([10]));
        assert_eq!(values["meta_keys_used"], serde_json::json!(["n"]));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let deep =
            format!("def model(dbt, s):\n    return {}1{}\n", "(".repeat(9000), ")".repeat(9000));
        for (text, expected) in [
            ("def model(dbt, s):\n    return dbt.ref(name)\n", "m.py:2:20"),
            ("def model(dbt, s):\n    return dbt.ref('a', **x)\n", "have to be literals"),
            ("def model(dbt, s):\n    return dbt.ref(f'a')\n", "have to be literals"),
            ("def model(dbt, s):\n    return dbt.ref('a' + b).df()\n", "have to be literals"),
            ("def model(dbt, s):\n    dbt.config.get()\n    return 1\n", "takes a key"),
            ("def model(dbt):\n    return 1\n", "takes two arguments"),
            ("def model(session, dbt):\n    return 1\n", "takes two arguments"),
            ("def model(dbt, s):\n    x = 1\n", "has to return one data frame"),
            ("def model(dbt, s):\n    return 1, 2\n", "has to return one data frame"),
            ("def model(dbt, s):\n    return (1, 2)\n", "has to return one data frame"),
            ("def model(dbt, s):\n    if x:\n        return 1\n", "has to return one data frame"),
            ("def model(dbt, s):\n    return\n", "has to return one data frame"),
            ("def build(dbt, s):\n    def model(dbt, s):\n        return 1\n", "this file has 0"),
            ("def model(dbt, s):\n    return 1\ndef model(dbt, s):\n    return 1\n", "has 2"),
            ("def model(dbt, s)\n    return 1\n", "further in"),
            ("x = {{ var('x') }}\ndef model(dbt, s):\n    return 1\n", "cannot have Jinja"),
            ("# nothing\n", "is empty"),
            (&deep, "too many brackets"),
        ] {
            let said = parsed(text).unwrap_err();
            assert!(said.contains(expected), "{expected}: {said}");
        }
        for text in [
            "def model(dbt, s):\n    for x in s:\n        yield x\n",
            "def model(dbt, s):\n    def f(a):\n        return a, 1\n    x = 1; return f(x)\n# end\n",
            "def model(dbt: object, session=None, *, other=(1, 2)) -> object: return f(1, 2)\n",
            "if True:\n    def model(dbt, s):\n        return (dbt\n            .ref('a'))\n\nx = 1\n",
            "@decorated\ndef model(dbt, s):\n    return [lambda a, b: 1][0](1, 2)\n",
        ] {
            assert!(parsed(text).is_ok(), "{text}: {}", parsed(text).unwrap_err());
        }
    }
}
