//! Nothing runs for ever, grows without limit or overflows the stack.

use std::time::{Duration, Instant};

use tidemill_jinja::{Budget, ErrorKind, NoHost, Options, Template};

use crate::support::{World, render, render_with};

fn is_stopped(template: &str) {
    let start = Instant::now();
    let budget = Budget { steps: 300_000, recursion: 200, output_bytes: 1 << 20 };
    let options = Options { package: "".into(), budget };
    let error = Template::from_text("t", template)
        .and_then(|template| template.render(&NoHost, &options))
        .expect_err(template);
    assert_eq!(error.kind(), ErrorKind::Budget, "{template}: {error}");
    assert!(start.elapsed() < Duration::from_secs(20), "{template}: {:?}", start.elapsed());
}

#[test]
fn runaway_templates_are_stopped() {
    let cases = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% set l = [1] %}{% for x in l %}{% do l.append(x) %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set l = [1] %}{% for i in range(99) %}{% do l.extend(l) %}{% endfor %}",
        "{{ 'x' * 1000000000000 }}",
        "{{ [1] * 1000000000000 }}",
        "{{ 'x'.ljust(10000000000) }}",
        "{{ 'x'.center(10000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ ('a' * 10000).replace('', 'b' * 1000) }}",
        "{{ 'x' | indent(1000000000000) }}",
        "{{ range(100000000) }}",
        "{{ modules.itertools.product(range(1000), repeat=4) | length }}",
        "{{ modules.itertools.permutations(range(50)) | list }}",
        "{{ modules.itertools.repeat(1, 1000000000000) }}",
        "{{ modules.itertools.islice(modules.itertools.count(), 100000000000) }}",
        "{% for x in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ ('ab ' * 1000).split() * 1000 }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}",
    ];
    for case in cases {
        is_stopped(case);
    }
}

#[test]
fn deep_values_are_freed_compared_and_printed() {
    let text = "{% set ns = namespace(v=[]) %}{% for i in range(90000) %}{% set ns.v = [ns.v] %}{% endfor %}\
                {% set w = namespace(v=[]) %}{% for i in range(90000) %}{% set w.v = {'k': (w.v,)} %}{% endfor %}\
                {{ ns.v == w.v }}{{ (ns.v | string | length) > 10 }}";
    assert_eq!(render(text).expect("it renders"), "FalseTrue");
}

#[test]
fn objects_that_hold_each_other_are_freed() {
    let wraps = [
        "[ns.v] | reverse",
        "zip([ns.v])",
        "namespace(p=ns.v)",
        "{'k': ns.v}.items()",
        "[ns.v].append",
        "cycler(ns.v)",
        "joiner(ns.v)",
        "set([ns.v]) if n is string else cycler(set([(ns.v,)], [1]))",
        "[{'k': ns.v}] | groupby('k') | first",
        "modules.itertools.cycle([ns.v])",
        "closes_over(ns.v)",
    ];
    let world = World::new().with_macros(
        "{% macro closes_over(p) %}{% macro inner() %}{{ p }}{% endmacro %}{{ return(inner) }}{% endmacro %}",
        "",
    );
    for wrap in wraps {
        let text = format!(
            "{{% set ns = namespace(v=1) %}}{{% for i in range(60000) %}}{{% set ns.v = {wrap} %}}{{% endfor %}}ok"
        );
        assert_eq!(render_with(&world, &text).expect(wrap), "ok", "{wrap}");
    }
    let text = "{% set ns = namespace(v=1) %}{% for i in range(60000) %}{% for x in [ns.v] %}\
                {% set ns.v = loop %}{% endfor %}{% endfor %}ok";
    assert_eq!(render(text).expect("it renders"), "ok");
}

#[test]
fn values_that_contain_themselves_do_not_hang() {
    let cases = [
        (
            "{% set l = [1] %}{% do l.append(l) %}{{ l }}{{ l == l }}{{ l in l }}",
            "[1, [...]]TrueTrue",
        ),
        ("{% set d = {} %}{% do d.update({'d': d}) %}{{ d }}", "{'d': {...}}"),
        ("{% set a = [] %}{% set b = [a] %}{% do a.append(b) %}{{ a == b }}", "False"),
        ("{% set l = [] %}{% do l.append(l) %}{% do l.extend(l) %}{{ l | length }}", "2"),
        (
            "{% set d = {} %}{% do d.update({'v': d.items()}) %}{{ d.items() == d.copy().items() }}",
            "True",
        ),
        (
            "{% set d = {} %}{% do d.update({'v': d.values()}) %}{{ d.values() }}",
            "dict_values([dict_values([...])])",
        ),
        (
            "{% set ns = namespace() %}{% set ns.self = [ns] %}{{ ns }}",
            "<Namespace {'self': [...]}>",
        ),
        ("{% set l = [] %}{% do l.append(l) %}{{ tojson(l, 'circular') }}", "circular"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template).expect(template), expected, "{template}");
    }
}

#[test]
fn deep_nesting_in_the_text_is_an_error() {
    let parts = [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("not ", ""),
        ("-", ""),
        ("f(", ")"),
        ("x[", "]"),
        ("1 if ", ""),
    ];
    for (open, close) in parts {
        let text = format!("{{{{ {}1{} }}}}", open.repeat(20_000), close.repeat(20_000));
        let error = Template::from_text("t", &text).expect_err(open);
        assert_eq!(error.kind(), ErrorKind::Syntax, "{open}: {error}");
    }
    let blocks = "{% if 1 %}".repeat(5_000);
    assert!(Template::from_text("t", &blocks).is_err());
    for operator in ["+", "or", "|string|string +", ".a.a +", "if 1 else"] {
        let chain = format!("{{{{ {} 1 }}}}", format!("1 {operator} ").repeat(30_000));
        let _ = Template::from_text("t", &chain);
    }
    let concatenation = format!("{{{{ {} 'x' }}}}", "'x' ~ ".repeat(20_000));
    assert_eq!(render(&concatenation).expect("a flat chain is fine").len(), 20_001);
    let elifs = format!("{{% if 0 %}}{}{{% else %}}z{{% endif %}}", "{% elif 0 %}".repeat(5_000));
    assert_eq!(render(&elifs).expect("a flat chain is fine"), "z");
}

#[test]
fn macros_may_go_as_deep_as_the_budget_allows() {
    let text = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% else %}end{% endif %}{% endmacro %}{{ m(390) }}";
    assert_eq!(render(text).expect("it renders"), "end");
}
