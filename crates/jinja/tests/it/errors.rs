//! Errors have a kind, a message, a place and, where one helps, a hint.

use tidemill_jinja::{ErrorKind, NoHost, Options, Template, Value};

use crate::support::{World, render, render_with};

#[test]
fn messages_and_places() {
    let cases = [
        ("a\n  {{ missing.x }}", ErrorKind::Undefined, "'missing' is undefined", (2, 6)),
        (
            "{{ row.nope.deep }}",
            ErrorKind::Undefined,
            "'dict object' has no attribute 'nope'",
            (1, 4),
        ),
        ("{{ none.x.y }}", ErrorKind::Undefined, "'None' has no attribute 'x'", (1, 4)),
        ("{{ missing() }}", ErrorKind::Undefined, "'missing' is undefined", (1, 4)),
        (
            "{{ 1 +\n 'a' }}",
            ErrorKind::Type,
            "unsupported operand type(s) for +: 'int' and 'str'",
            (1, 4),
        ),
        ("{{ 1 / 0 }}", ErrorKind::Runtime, "division by zero", (1, 4)),
        ("{% for x in 5 %}{% endfor %}", ErrorKind::Type, "'int' object is not iterable", (1, 13)),
        (
            "{{ 1 < 'a' }}",
            ErrorKind::Type,
            "'<' not supported between instances of 'int' and 'str'",
            (1, 4),
        ),
        ("é {{ 5() }}", ErrorKind::Type, "'int' object is not callable", (1, 6)),
        ("{% if x %}", ErrorKind::Syntax, "this `if` block is not closed", (1, 1)),
        ("{{ a b }}", ErrorKind::Syntax, "expected 'end of print statement', got 'b'", (1, 6)),
        ("{{ 'a", ErrorKind::Syntax, "this string is not closed", (1, 4)),
        ("\r\n{{ 'a' | uper }}", ErrorKind::Syntax, "No filter named 'uper'.", (2, 10)),
        ("{% endfor %}", ErrorKind::Syntax, "'endfor' closes nothing", (1, 4)),
        ("{{ return(1) }}", ErrorKind::Runtime, "return() was called outside of a macro", (0, 0)),
        ("{{ [1].index(2) }}", ErrorKind::Runtime, "2 is not in list", (1, 4)),
    ];
    for (template, kind, message, place) in cases {
        let error = render(template).expect_err(template);
        assert_eq!((error.kind(), error.message()), (kind, message), "{template}");
        let found = error.span().map_or((0, 0), |span| {
            let position = span.position();
            (position.line, position.column)
        });
        assert_eq!(found, place, "{template}");
    }
}

#[test]
fn hints() {
    let cases = [
        ("{{ 'a' | uper }}", "did you mean `upper`?"),
        ("{% iff x %}{% endif %}", "did you mean `if`?"),
        ("{{ 1 is nune }}", "did you mean `none`?"),
        ("{{ [].apend(1) }}", "did you mean `append`?"),
        ("{% set x.y = 1 %}{% set x['y'] = 1 %}", "use `{% do x.update({key: value}) %}`"),
        ("{% if x %}", "add `{% endif %}`"),
        ("{% docs x %}", "add `{% enddocs %}`"),
    ];
    for (template, hint) in cases {
        assert_eq!(render(template).expect_err(template).hint(), Some(hint), "{template}");
    }
}

#[test]
fn the_stack_names_the_macros_innermost_first() {
    let world = World::new().with_macros(
        "{% macro outer() %}\n{{ inner(1) }}{% endmacro %}{% macro inner(x) %}\n\n{{ x.y.z }}{% endmacro %}",
        "pkg",
    );
    let error = render_with(&world, "\n{{ outer() }}").expect_err("it fails");
    let names: Vec<_> = error.stack().iter().map(|frame| (&*frame.name, &*frame.package)).collect();
    assert_eq!(names, [("inner", "pkg"), ("outer", "pkg")]);
    let calls: Vec<_> =
        error.stack().iter().map(|frame| frame.call.as_ref().map(ToString::to_string)).collect();
    assert_eq!(calls, [Some("macros.sql:2:4".to_string()), Some("test.sql:2:4".to_string())]);
    assert_eq!(error.span().map(ToString::to_string).as_deref(), Some("macros.sql:4:4"));
}

#[test]
fn a_host_error_travels_whole() {
    #[derive(Debug, PartialEq)]
    struct Mine(u32);
    impl std::fmt::Display for Mine {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "mine {}", self.0)
        }
    }
    impl std::error::Error for Mine {}
    let world = World::new().with(
        "fail",
        Value::function("fail", |_, _| {
            Err(tidemill_jinja::Error::host(ErrorKind::User, Mine(7)).with_hint("h"))
        }),
    );
    let error = render_with(&world, "{% macro m() %}{{ fail() }}{% endmacro %}{{ m() }}")
        .expect_err("it fails");
    assert_eq!((error.kind(), error.message()), (ErrorKind::User, "mine 7"));
    assert_eq!(error.payload::<Mine>(), Some(&Mine(7)));
    assert_eq!(error.hint(), Some("h"));
    assert!(error.span().is_some());
}

#[test]
fn undefined_is_silent_until_it_is_used() {
    let template = Template::from_text(
        "t",
        "[{{ a }}{{ a or 'x' }}{{ a is defined }}{% for i in a %}{% endfor %}]",
    )
    .expect("it parses");
    assert_eq!(template.render(&NoHost, &Options::default()).expect("it renders"), "[xFalse]");
}
