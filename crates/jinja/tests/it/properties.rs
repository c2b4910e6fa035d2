//! Properties that hold for any text.

use proptest::prelude::*;
use tidemill_jinja::{Budget, NoHost, Options, Template, literal_eval};

fn small() -> Options {
    let budget = Budget { steps: 20_000, recursion: 50, output_bytes: 1 << 16 };
    Options { package: "".into(), budget }
}

/// Pieces that make it likely to get somewhere in the parser.
fn soup() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("{{ "),
        Just(" }}"),
        Just("{% "),
        Just(" %}"),
        Just("{%-"),
        Just("-%}"),
        Just("{#"),
        Just("#}"),
        Just("if x"),
        Just("endif"),
        Just("for a, b in "),
        Just("endfor"),
        Just("set y = "),
        Just("endset"),
        Just("macro m(a, b=1)"),
        Just("endmacro"),
        Just("call m()"),
        Just("endcall"),
        Just("raw"),
        Just("endraw"),
        Just("docs d"),
        Just("enddocs"),
        Just("snapshot s"),
        Just("endsnapshot"),
        Just("test t(model)"),
        Just("endtest"),
        Just("x"),
        Just("1"),
        Just("2.5"),
        Just("'s'"),
        Just("\""),
        Just("("),
        Just(")"),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(", "),
        Just(": "),
        Just("."),
        Just("|"),
        Just("~"),
        Just("+"),
        Just("-"),
        Just("*"),
        Just("**"),
        Just("="),
        Just("=="),
        Just("%"),
        Just(" is "),
        Just(" not "),
        Just(" in "),
        Just(" if "),
        Just(" else "),
        Just("upper"),
        Just("default"),
        Just("none"),
        Just("\n"),
        Just("\r\n"),
        Just("\\"),
        Just("é"),
        Just("text "),
        Just("range(3)"),
        Just("loop.index"),
        Just("do "),
        Just("return(1)"),
        Just("recursive"),
    ];
    prop::collection::vec(pieces, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_any_text(text in any::<String>()) {
        let _ = Template::from_text("t", &text).map(|template| template.render(&NoHost, &small()));
        let _ = literal_eval(&text);
    }

    #[test]
    fn nothing_panics_on_what_looks_like_a_template(text in soup()) {
        if let Ok(template) = Template::from_text("t", &text) {
            let _ = template.render(&NoHost, &small());
            let _ = template.eval_native(&NoHost, &small());
            let calls = template.static_calls();
            for call in &calls.calls {
                prop_assert!(!call.span.text().is_empty());
            }
            for definition in template.definitions() {
                prop_assert!(definition.text().contains(definition.body()));
                let _ = definition.body_template();
            }
        }
    }

    #[test]
    fn text_without_tags_renders_to_itself(text in "[^{\r\n]*(\n[^{\r\n]+)*") {
        let rendered = Template::from_text("t", &text).and_then(|t| t.render(&NoHost, &small()));
        prop_assert_eq!(rendered.expect("plain text renders"), text);
    }

    #[test]
    fn a_string_literal_comes_out_as_it_went_in(text in any::<String>()) {
        let text = text.replace('\r', "");
        let repr = tidemill_jinja::Value::str(&text).repr();
        let rendered = Template::from_text("t", &format!("{{{{ {repr} }}}}"))
            .and_then(|t| t.render(&NoHost, &small()));
        prop_assert_eq!(rendered.expect("a literal renders"), text.clone());
        prop_assert_eq!(literal_eval(&repr).and_then(|v| v.as_str().map(String::from)), Some(text));
    }

    #[test]
    fn integer_division_and_rest_agree(a in -1000i64..1000, b in -50i64..50) {
        prop_assume!(b != 0);
        let text = format!("{{{{ ({a} // {b}) * {b} + {a} % {b} == {a} }}}}");
        let rendered = Template::from_text("t", &text).and_then(|t| t.render(&NoHost, &small()));
        prop_assert_eq!(rendered.expect("it renders"), "True");
    }
}
