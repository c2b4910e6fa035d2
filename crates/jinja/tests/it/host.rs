//! Names, macros of other packages, objects, functions and the clock.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use tidemill_jinja::{Args, Error, Host, NoHost, Object, Options, State, Template, Value};

use crate::support::{World, now, render_with, renders};

#[test]
fn locals_come_before_the_host_and_the_host_before_builtins() {
    let world = World::new().with("range", Value::str("mine"));
    assert_eq!(render_with(&world, "{{ range }}{% set n = 1 %}{{ n }}").expect("renders"), "mine1");
}

/// Answers macros by package, as a project does: the macro's own package first.
struct Packages(Vec<(String, String, Value)>);

impl Host for Packages {
    fn lookup(&self, name: &str, state: &State<'_>) -> Option<Value> {
        if name == "here" {
            return Some(Value::from(state.package().clone()));
        }
        let find = |package: &str| {
            self.0.iter().find(|(p, n, _)| p == package && n == name).map(|(_, _, v)| v.clone())
        };
        find(state.package()).or_else(|| find("root"))
    }
}

#[test]
fn names_in_a_macro_are_those_of_its_package() {
    let mut macros = Vec::new();
    for (package, text) in [
        (
            "root",
            "{% macro name() %}root{{ here }}{% endmacro %}{% macro call_back() %}{{ caller() }}{{ here }}{% endmacro %}",
        ),
        (
            "pkg",
            "{% macro name() %}pkg{{ here }}{% endmacro %}{% macro who() %}{{ name() }}|{{ here }}{% endmacro %}",
        ),
    ] {
        for definition in Template::from_text(package, text).expect("parses").definitions() {
            let value = definition.to_value(package).expect("a macro");
            macros.push((package.to_string(), definition.name.to_string(), value));
        }
    }
    let who = macros.iter().find(|(_, name, _)| name == "who").expect("exists").2.clone();
    macros.push(("root".into(), "who".into(), who));
    let text = "{{ name() }} {{ who() }} {{ here }} {% call call_back() %}{{ here }}{% endcall %}";
    let rendered = Template::from_text("t", text)
        .expect("parses")
        .render(&Packages(macros), &Options::for_package("root"))
        .expect("renders");
    assert_eq!(rendered, "rootroot pkgpkg|pkg root rootroot");
}

#[test]
fn a_macro_can_be_called_from_rust_and_gives_any_value() {
    let text = "{% macro m(a, b=2) %}{{ return([a, b, kwargs]) }}{% endmacro %}";
    let definition = Template::from_text("t", text).expect("parses").definitions().remove(0);
    let called = definition.to_macro("p").expect("a macro");
    let mut state = State::new(&NoHost, "p", Options::default().budget);
    let value = called.call(&Args::positional_only([1.into()]).with("x", "y"), &mut state);
    assert_eq!(value.expect("returns").repr(), "[1, 2, {'x': 'y'}]");
}

#[test]
fn return_ends_the_nearest_macro_only() {
    let world = World::new().with_macros(
        "{% macro inner() %}a{{ return('i') }}b{% endmacro %}\
         {% macro outer() %}[{{ inner() }}]{% endmacro %}\
         {% macro runs() %}{{ caller() }}after{% endmacro %}",
        "",
    );
    assert_eq!(render_with(&world, "{{ outer() }}").expect("renders"), "[i]");
    // From within a call block, it is the macro that runs the block which ends.
    let text = "{% call runs() %}{{ return('x') }}{% endcall %}!";
    assert_eq!(render_with(&world, text).expect("renders"), "x!");
}

#[derive(Debug)]
struct Relation {
    name: String,
    touched: Mutex<u32>,
}

impl Object for Relation {
    fn type_name(&self) -> &str {
        "Relation"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        (name == "identifier").then(|| Value::from(self.name.clone()))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["include", "touch"]
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "include" => {
                Some(args.bind("include", ["database", "schema"], 0).map(|[database, schema]| {
                    let shows = |flag: Option<Value>| flag.is_none_or(|flag| flag.is_true());
                    Value::from(format!("{}{}{}", shows(database), shows(schema), self.name))
                }))
            }
            "touch" => {
                *self.touched.lock().expect("not poisoned") += 1;
                Some(Ok(Value::None))
            }
            _ => None,
        }
    }

    fn render(&self) -> String {
        format!("\"{}\"", self.name)
    }
}

#[test]
fn objects_have_attributes_methods_and_text() {
    let relation = Arc::new(Relation { name: "orders".into(), touched: Mutex::new(0) });
    let world = World::new().with("rel", Value::Object(relation.clone()));
    let cases = [
        ("{{ rel }}", "\"orders\""),
        ("{{ [rel] }}", "[<Relation object>]"),
        ("{{ rel.identifier }}{{ rel['identifier'] }}", "ordersorders"),
        ("{{ rel.include(schema=false) }}", "truefalseorders"),
        ("{% set f = rel.include %}{{ f(false) }}", "falsetrueorders"),
        ("{{ rel.include is callable }}{{ rel.nope is defined }}", "TrueFalse"),
        ("{% do rel.touch() %}{% do rel.touch() %}", ""),
        ("{{ rel == rel }}{{ rel is sameas rel }}{{ {rel: 1}[rel] }}", "TrueTrue1"),
        ("{{ 'x' if rel else 'y' }}", "x"),
    ];
    for (template, expected) in cases {
        assert_eq!(render_with(&world, template).expect(template), expected, "{template}");
    }
    assert_eq!(*relation.touched.lock().expect("not poisoned"), 2);
    let error = render_with(&world, "{{ rel.include(nope=1) }}").expect_err("unknown argument");
    assert_eq!(error.message(), "include() got an unexpected keyword argument 'nope'");
    let error = render_with(&world, "{{ rel.nope() }}").expect_err("no such method");
    assert_eq!(error.message(), "'Relation object' has no attribute 'nope'");
}

#[test]
fn arguments_are_bound_as_python_does() {
    let world = World::new().with(
        "f",
        Value::function("f", |args, _| {
            let [a, b] = args.bind("f", ["a", "b"], 1)?;
            Ok(Value::tuple([a.unwrap_or(Value::None), b.unwrap_or(Value::str("default"))]))
        }),
    );
    let ok = [
        ("f(1)", "(1, 'default')"),
        ("f(b=1, a=2)", "(2, 1)"),
        ("f(*[1, 2])", "(1, 2)"),
        ("f(**{'a': none})", "(None, 'default')"),
    ];
    for (call, expected) in ok {
        assert_eq!(render_with(&world, &format!("{{{{ {call} }}}}")).expect(call), expected);
    }
    let bad = [
        ("f()", "f() missing 1 required positional argument: 'a'"),
        ("f(1, 2, 3)", "f() takes from 1 to 2 positional arguments but 3 were given"),
        ("f(1, a=2)", "f() got multiple values for argument 'a'"),
        ("f(1, c=2)", "f() got an unexpected keyword argument 'c'"),
        ("f(a=1, **{'a': 2})", "got multiple values for keyword argument 'a'"),
        ("f(*5)", "argument after * must be an iterable, not int"),
        ("f(**5)", "argument after ** must be a mapping, not int"),
    ];
    for (call, message) in bad {
        let error = render_with(&world, &format!("{{{{ {call} }}}}")).expect_err(call);
        assert_eq!(error.message(), message, "{call}");
    }
}

#[test]
fn the_clock_is_the_hosts() {
    struct Clock(Mutex<u32>);
    impl Host for Clock {
        fn lookup(&self, _name: &str, _state: &State<'_>) -> Option<Value> {
            None
        }
        fn now(&self) -> DateTime<Utc> {
            *self.0.lock().expect("not poisoned") += 1;
            now()
        }
        fn local_offset_seconds(&self) -> i32 {
            3600
        }
    }
    let clock = Clock(Mutex::new(0));
    let cases = [
        ("{{ modules.datetime.datetime.now() }}", "2024-02-29 14:05:30.250000"),
        (
            "{{ modules.datetime.datetime.now(modules.pytz.utc) }}",
            "2024-02-29 13:05:30.250000+00:00",
        ),
        ("{{ modules.datetime.datetime.utcnow().isoformat() }}", "2024-02-29T13:05:30.250000"),
        ("{{ modules.datetime.date.today() }}", "2024-02-29"),
        ("{{ modules.datetime.datetime.today().date() }}", "2024-02-29"),
        (
            "{{ modules.datetime.datetime.now(modules.pytz.timezone('Asia/Tokyo')).strftime('%H %Z') }}",
            "22 JST",
        ),
    ];
    for (index, (template, expected)) in cases.iter().enumerate() {
        assert_eq!(render_with(&clock, template).expect(template), *expected, "{template}");
        assert_eq!(*clock.0.lock().expect("not poisoned") as usize, index + 1, "{template}");
    }
    render_with(&clock, "{{ modules.datetime.date(2024, 1, 1) }}").expect("renders");
    assert_eq!(*clock.0.lock().expect("not poisoned") as usize, cases.len());
}

#[test]
fn python_has_no_say_in_what_only_dbt_has() {
    renders(&[
        ("{{ diff_of_two_dicts({'A': ['X', 'y']}, {'a': ['Y']}) }}", "{'a': ['x']}"),
        ("{{ diff_of_two_dicts({'a': ['x']}, {'b': ['y']}) }}", "{'a': ['x']}"),
        ("{{ [7] | random }}", "7"),
        ("{{ [] | random }}", ""),
        ("{% materialization m, default %}x{% endmaterialization %}a", "a"),
        ("{% test t(model) %}x{% endtest %}{{ test_t(1) }}", "x"),
        ("{% snapshot s %}x{% endsnapshot %}b", "b"),
        ("{% docs d %}{{ {% enddocs %}c", "c"),
    ]);
}

#[test]
fn values_and_templates_cross_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Value>();
    shared::<Template>();
    let list = Value::list([]);
    let template =
        Template::from_text("t", "{% for i in range(500) %}{% do shared.append(i) %}{% endfor %}")
            .expect("parses");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (template, list) = (template.clone(), list.clone());
            scope.spawn(move || {
                let host = |name: &str| (name == "shared").then(|| list.clone());
                template.render(&host, &Options::default()).expect("renders");
            });
        }
    });
    assert_eq!(list.len(), Some(2000));
}

/// `adapter.dispatch(name)` gives the macro of the adapter, else the default one.
#[derive(Debug)]
struct Adapter;

impl Object for Adapter {
    fn type_name(&self) -> &str {
        "Adapter"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["dispatch"]
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "dispatch").then(|| {
            let [wanted, _package] = args.bind("dispatch", ["macro_name", "macro_namespace"], 1)?;
            let wanted = wanted.unwrap_or(Value::None);
            ["postgres__", "default__"]
                .iter()
                .find_map(|prefix| state.lookup(&format!("{prefix}{wanted}")))
                .ok_or_else(|| Error::user(format!("no macro {wanted}")))
        })
    }
}

#[test]
fn the_idioms_of_dbt_packages_work() {
    let macros = "
        {% macro star(from, except=[]) -%}
            {{ return(adapter.dispatch('star', 'dbt_utils')(from, except)) }}
        {%- endmacro %}
        {% macro default__star(from, except) -%}
            {%- set cols = [] -%}
            {%- for col in from.columns if col not in except -%}
                {%- do cols.append('\"' ~ col ~ '\"') -%}
            {%- endfor -%}
            {{- return(cols | join(', ')) -}}
        {%- endmacro %}
        {% macro statement(name=none, fetch_result=False) -%}
            {%- if execute -%}{%- set sql = caller() -%}{%- do sent.append([name, sql | trim]) -%}{%- endif -%}
        {%- endmacro %}
        {% macro nested() %}{% call statement('a', fetch_result=true) -%} select {{ star(t) }} {%- endcall %}{% endmacro %}
        {% macro options(a) %}{% set given = dict(a=a, **kwargs) %}{{ given.items() | list | length }}{{ varargs }}{% endmacro %}";
    let sent = Value::list([]);
    let world = World::new()
        .with_macros(macros, "dbt_utils")
        .with("adapter", Value::object(Adapter))
        .with("execute", Value::Bool(true))
        .with("sent", sent.clone())
        .with("t", Value::dict([("columns", Value::from(vec!["id", "name", "x"]))]));
    let text = "{{ star(t, except=['x']) }}|{{ nested() | trim }}|{{ options(1, 2, b=3) }}";
    assert_eq!(render_with(&world, text).expect("renders"), r#""id", "name"||2(2,)"#);
    assert_eq!(sent.repr(), r#"[['a', 'select "id", "name", "x"']]"#);
}

#[test]
fn patterns_may_look_around_and_back() {
    renders(&[
        ("{{ modules.re.findall('a(?=b)', 'ab ac ab') }}", "['a', 'a']"),
        ("{{ modules.re.sub('(?<!x)y', '-', 'xy ay') }}", "xy a-"),
        ("{{ modules.re.match('(a+)-\\\\1$', 'aa-aa').group(1) }}", "aa"),
        ("{{ modules.re.search('(?P<q>.)b(?P=q)', 'xcbc').groupdict() }}", "{'q': 'c'}"),
        ("{{ modules.re.split('(?=[A-Z])', 'aBC') }}", "['a', 'B', 'C']"),
    ]);
    let endless = format!("{{{{ modules.re.match('(a|a)*(?=c)', '{}') }}}}", "a".repeat(60));
    let error = crate::support::render(&endless).unwrap_err();
    assert!(error.to_string().contains("takes too long"), "{error}");
}

#[test]
fn filters_of_nothing_are_empty() {
    renders(&[
        ("{{ none | map('lower') | list }} {{ nothing | select | list }}", "[] []"),
        ("{{ 'a' in none | map('lower') }}", "False"),
    ]);
}
