//! A host with the names that the tests use.

use chrono::{DateTime, NaiveDate, Utc};
use tidemill_jinja::{Error, Host, Options, State, Template, Value, from_json_text, modules};

/// The moment at which the clock of every test stands.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2024-02-29T13:05:30.250Z").expect("a valid time").to_utc()
}

/// Answers the names that `scripts/jinja-differential.py` gives to Python.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) names: Vec<(String, Value)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let json = |text: &str| from_json_text(text).expect("valid JSON");
        let day = NaiveDate::from_ymd_opt(2024, 2, 29).expect("a valid date");
        let names = [
            ("run_started_at", modules::utc_datetime(now())),
            ("n", Value::from(5)),
            ("text", Value::str("Hello World")),
            ("words", json(r#"["banana", "Apple", "cherry", "apple"]"#)),
            ("numbers", json("[3, 1, 2]")),
            ("nothing", Value::None),
            (
                "row",
                json(
                    r#"{"id": 1, "name": "Ada", "tags": ["a", "b"],
                        "nested": {"deep": [1, {"x": "y"}]}}"#,
                ),
            ),
            (
                "rows",
                json(
                    r#"[{"id": 1, "name": "Ada", "team": "red", "score": 3.5},
                        {"id": 2, "name": "bob", "team": "Blue", "score": 1.25},
                        {"id": 3, "name": "Cy", "team": "red", "score": null},
                        {"id": 4, "name": "dee", "team": "blue", "score": 9}]"#,
                ),
            ),
            ("day", modules::date_value(day)),
            ("moment", modules::datetime_value(now().naive_utc())),
        ];
        Self { names: names.map(|(name, value)| (name.to_string(), value)).into() }
    }

    /// Adds the macros of a text, as macros of `package`.
    pub(crate) fn with_macros(mut self, text: &str, package: &str) -> Self {
        let template = Template::from_text("macros.sql", text).expect("the macros parse");
        for definition in template.definitions() {
            let value = definition.to_value(package).expect("a macro");
            self.names.push((definition.full_name.to_string(), value));
        }
        self
    }

    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.names.push((name.to_string(), value));
        self
    }
}

impl Host for World {
    fn lookup(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.names.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn now(&self) -> DateTime<Utc> {
        now()
    }
}

pub(crate) fn render(text: &str) -> Result<String, Error> {
    render_with(&World::new(), text)
}

pub(crate) fn render_with(host: &dyn Host, text: &str) -> Result<String, Error> {
    Template::from_text("test.sql", text)?.render(host, &Options::default())
}

/// Each template renders to the text beside it.
pub(crate) fn renders(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        match render(template) {
            Ok(text) => assert_eq!(text, *expected, "{template}"),
            Err(error) => panic!("{template}: {error}"),
        }
    }
}
