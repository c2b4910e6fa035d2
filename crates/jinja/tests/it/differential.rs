//! The same templates through Python's Jinja2 (recorded by `scripts/jinja-differential.py`) and
//! through this crate.

use serde::Deserialize;
use tidemill_jinja::{Error, ErrorKind, Options, Template};

use crate::support::World;

#[derive(Deserialize)]
struct Case {
    template: String,
    macros: Option<String>,
    text: Option<String>,
    #[serde(rename = "type")]
    type_name: Option<String>,
    repr: Option<String>,
    error: Option<String>,
}

/// Where we go another way on purpose: template → why.
const DIFFERENT: &[(&str, &str)] =
    &[("{% raw %}", "a raw block that is never closed: Python only minds when text follows")];

fn run(case: &Case) -> Result<Vec<String>, Error> {
    let mut world = World::new();
    if let Some(macros) = &case.macros {
        world = world.with_macros(macros, "");
    }
    let template = Template::from_text("case", &case.template)?;
    if case.repr.is_some() {
        let value = template.eval_native(&world, &Options::default())?;
        return Ok(vec![value.type_name().to_string(), value.repr()]);
    }
    if case.text.is_none() && template.eval_native(&world, &Options::default()).is_err() {
        // In an area of native values an error may come from the conversion alone.
        return Err(Error::runtime("native"));
    }
    Ok(vec![template.render(&world, &Options::default())?])
}

/// Python's name of a type without its module.
fn short(type_name: &str) -> &str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}

fn compare(area: &str, json: &str) {
    let cases: Vec<Case> = serde_json::from_str(json).expect("the recorded results are JSON");
    assert!(cases.len() > 10, "{area}: only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        if DIFFERENT.iter().any(|(template, _)| *template == case.template) {
            continue;
        }
        let expected = match (&case.text, &case.repr) {
            (Some(text), _) => vec![text.clone()],
            (_, Some(repr)) => {
                vec![case.type_name.clone().unwrap_or_default(), repr.clone()]
            }
            _ => Vec::new(),
        };
        match (run(case), &case.error) {
            (Err(error), Some(_)) if error.kind() != ErrorKind::Budget => {}
            (Err(error), Some(message)) if message.contains("OverflowError") => drop(error),
            (Ok(mut found), None) => {
                if found.len() == 2 {
                    found[0] = short(&found[0]).to_string();
                }
                if found != expected {
                    wrong.push(format!("{:?}: {found:?}, Python: {expected:?}", case.template));
                }
            }
            (Ok(found), Some(error)) => {
                wrong.push(format!("{:?}: {found:?}, Python: {error}", case.template));
            }
            (Err(error), _) => {
                wrong.push(format!("{:?}: {error}, Python: {expected:?}", case.template));
            }
        }
    }
    assert!(wrong.is_empty(), "{area}: {} differ\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! areas {
    ($($area:ident),* $(,)?) => {$(
        #[test]
        fn $area() {
            let json = include_str!(concat!("differential/", stringify!($area), ".json"));
            compare(stringify!($area), json);
        }
    )*};
}

areas!(
    arithmetic,
    attributes,
    comparison,
    datetime,
    dicts,
    errors,
    filters,
    generators,
    lists,
    macros,
    modules_itertools,
    modules_re,
    native_values,
    printing,
    statements,
    strings,
    tests,
    whitespace,
);
