//! dbt's native environment and the literals behind it.

use tidemill_jinja::{Expression, Options, Source, Template, Value, literal_eval};

use crate::support::World;

#[test]
fn an_expression_keeps_its_type() {
    let cases = [
        ("{{ n }}", "5"),
        ("{{ 1 }}", "1"),
        ("{{ ['a'] }}", "['a']"),
        ("{{ none }}", "None"),
        ("{{ '1' }}", "'1'"),
        ("{{ '1' | as_number }}", "1"),
        ("{{ 'True' | as_bool }}", "True"),
        ("{{ '[1]' | as_native }}", "[1]"),
        ("{{ 1 | as_text }}", "'1'"),
        ("a{{ n }}", "'a5'"),
        ("", "''"),
        ("5", "'5'"),
    ];
    for (text, expected) in cases {
        let template = Template::from_text("t", text).expect("parses");
        let value = template.eval_native(&World::new(), &Options::default()).expect(text);
        assert_eq!(value.repr(), expected, "{text}");
    }
}

#[test]
fn a_conversion_that_fails_says_so() {
    let template = Template::from_text("t", "{{ 'maybe' | as_bool }}").expect("parses");
    let error = template.eval_native(&World::new(), &Options::default()).expect_err("no bool");
    assert_eq!(error.message(), "Could not convert value 'maybe' into type 'bool'");
}

#[test]
fn literals() {
    let good = [
        ("1", "1"),
        ("-1.5", "-1.5"),
        ("'a' 'b'", "'ab'"),
        ("(1,)", "(1,)"),
        ("{'a': [None, True]}", "{'a': [None, True]}"),
        ("set()", "set()"),
    ];
    for (text, expected) in good {
        assert_eq!(
            literal_eval(text).map(|value| value.repr()).as_deref(),
            Some(expected),
            "{text}"
        );
    }
    for text in [
        "true",
        "none",
        "a",
        "1 + 1",
        "f()",
        "",
        "[true]",
        "not 1",
        "'a' ~ 'b'",
        "-'a'",
        "x.y",
        "{[]: 1}",
    ] {
        assert!(literal_eval(text).is_none(), "{text}");
    }
}

#[test]
fn a_bare_expression_can_be_evaluated() {
    let source = Source::new("where", "n > 3 and\n row.nope.x");
    let expression = Expression::parse(&source).expect("parses");
    let error = expression.evaluate(&World::new(), &Options::default()).expect_err("undefined");
    assert_eq!(error.span().map(|span| span.text()), Some("row.nope.x"));
    let source = Source::new("where", "n * 2");
    let value =
        Expression::parse(&source).and_then(|e| e.evaluate(&World::new(), &Options::default()));
    assert_eq!(value.expect("evaluates"), Value::from(10));
    assert!(Expression::parse(&Source::new("w", "1 }} {{ 2")).is_err());
}
