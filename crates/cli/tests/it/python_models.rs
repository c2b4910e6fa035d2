//! Python models: what they are given, what they may give, and how they fail. Needs a Python with
//! `pandas`, `polars` and `pyarrow`: its path in `TIDEMILL_PYTHON`.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox};

/// The interpreter, which tests without one skip aloud.
fn python() -> Option<String> {
    let python = std::env::var("TIDEMILL_PYTHON").ok();
    if python.is_none() {
        assert!(std::env::var("CI").is_err(), "CI must set TIDEMILL_PYTHON (scripts/test does)");
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: TIDEMILL_PYTHON is not set, no Python model was run").unwrap();
    }
    python
}

const TYPES: &str = "select 1::int as id, 1.50::decimal(10,2) as price, date '2024-02-29' as day,
  timestamp '2024-02-29 10:11:12.123456' as at, timestamptz '2024-02-29 10:11:12+02' as zoned, 'a' as name,
  true as ok, [1, 2] as list, {'x': 1, 'y': 'b'} as nested
union all select 2::int, null, null, null, null, null, null, null, null";

struct Shop {
    sandbox: Sandbox,
    python: String,
}

impl Shop {
    fn new(files: &[(&str, &str)]) -> Option<Shop> {
        let python = python()?;
        Some(Shop { sandbox: Sandbox::new(files), python })
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.sandbox.run_with(&[("TIDEMILL_PYTHON", &self.python)], arguments)
    }

    fn build(&self) -> Outcome {
        self.run(&["build"])
    }

    fn rows(&self, query: &str) -> Vec<String> {
        self.sandbox.rows(query)
    }

    fn types(&self, table: &str) -> Vec<String> {
        let found = self.rows(&format!(
            "select column_name || ' ' || data_type from information_schema.columns \
             where table_name = '{table}' order by ordinal_position"
        ));
        found.into_iter().map(|column| column.replace('"', "")).collect()
    }

    fn manifest(&self) -> Value {
        let text = std::fs::read_to_string(self.sandbox.path("target/manifest.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Whether anything but published tables lies in the lake.
    fn staged(&self, table: &str) -> bool {
        let folder = self.sandbox.path(&format!("lake/main/{table}"));
        std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
    }
}

#[test]
fn frames_of_every_library_go_in_and_out() {
    let model =
        |body: &str| format!("def model(dbt, session):\n    rows = dbt.ref('types')\n{body}");
    let Some(shop) = Shop::new(&[
        ("models/types.sql", TYPES),
        ("models/from_arrow.py", &model("    return rows.arrow()\n")),
        ("models/from_polars.py", &model("    return rows.pl().lazy()\n")),
        (
            "models/from_pandas.py",
            &model(
                "    df = rows.select('id, price, day, at, zoned, name, ok').df()\n\
                 \x20   df['year'] = df['day'].dt.year\n    df['twice'] = df['price'] * 2\n    df['nothing'] = None\n\
                 \x20   print('rows', len(df))\n    return df\n",
            ),
        ),
        (
            "models/from_rows.py",
            &model(
                "    return rows.filter('id > 0').project('id, price * 2 as twice').order('id')\n",
            ),
        ),
        (
            "models/streamed.py",
            "import pyarrow as pa\nimport pyarrow.compute as pc\n\ndef model(dbt, session):\n    def double():\n        for batch in dbt.ref('many').record_batches():\n\
             \x20           yield pa.record_batch({'n': pc.multiply(batch['n'], 2)})\n    return double()\n",
        ),
        ("models/many.sql", "select n from unnest(generate_series(1, 200000)) as t(n)"),
        (
            "models/frames.py",
            "def model(dbt, session):\n    dbt.config(dataframe='pandas')\n    df = dbt.ref('types')\n    return df[['id']]\n",
        ),
    ]) else {
        return;
    };
    shop.build().ok();
    let all = [
        "id integer",
        "price numeric(10,2)",
        "day date",
        "at timestamp",
        "zoned timestamptz",
        "name text",
        "ok boolean",
    ];
    for table in ["from_arrow", "from_polars"] {
        assert_eq!(shop.types(table)[..7], all, "{table}");
        let differ = format!(
            "select count(*) from ((select * from types except select * from {table}) union all (select * from {table} except select * from types)) as d"
        );
        assert_eq!(shop.rows(&differ), ["0"], "{table}");
    }
    // As DuckDB gives them to pandas: decimals are floats, dates are times.
    assert_eq!(
        shop.types("from_pandas"),
        [
            "id integer",
            "price double precision",
            "day timestamp",
            "at timestamp",
            "zoned timestamptz",
            "name text",
            "ok boolean",
            "year double precision",
            "twice double precision",
            "nothing text",
        ]
    );
    assert_eq!(
        shop.rows(
            "select id, price, day, year, twice, nothing, ok, name from from_pandas order by id"
        ),
        ["1,1.5,2024-02-29 00:00:00,2024.0,3.0,,true,a", "2,,,,,,,"]
    );
    assert_eq!(shop.rows("select id, twice from from_rows order by id"), ["1,3.00", "2,"]);
    assert_eq!(shop.types("frames"), ["id integer"]);
    assert_eq!(shop.rows("select count(*), sum(n) from streamed"), ["200000,40000200000"]);
    assert!(!shop.staged("streamed__python_rows"));

    let node = &shop.manifest()["nodes"]["model.shop.from_pandas"];
    assert_eq!(node["language"], "python");
    assert_eq!(node["config"]["materialized"], "table");
    assert_eq!(node["depends_on"]["nodes"][0], "model.shop.types");
    let compiled = node["compiled_code"].as_str().unwrap();
    assert!(compiled.starts_with("def model(dbt, session):"), "{compiled}");
    assert!(compiled.contains("class dbtObj"), "{compiled}");
    assert_eq!(node["compiled_path"], "target/compiled/shop/models/from_pandas.py");
    assert!(shop.sandbox.path("target/compiled/shop/models/from_pandas.py").is_file());
}

#[test]
fn a_model_sees_its_settings_and_its_relation() {
    let Some(shop) = Shop::new(&[
        (
            "models/m.py",
            "import pyarrow as pa\n\ndef model(dbt, session):\n    limit = dbt.config.get('limit')\n    owner = dbt.config.meta_get('owner', 'nobody')\n\
             \x20   none = dbt.config.get('other', 'default')\n\
             \x20   return pa.table({'limit': [limit], 'owner': [owner], 'other': [none], 'this': [repr(dbt.this)],\n\
             \x20                    'name': [dbt.this.identifier], 'n': [session.sql('select 40 + 2').fetchall()[0][0]]})\n",
        ),
        (
            "models/m.yml",
            "models:\n  - name: m\n    config: {limit: \"{{ 5 * var('size', 2) }}\", meta: {owner: me}}\n",
        ),
    ]) else {
        return;
    };
    shop.build().ok();
    assert_eq!(shop.rows("select * from m"), ["10,me,default,\"\"\"main\"\".\"\"m\"\"\",m,42"]);
    let config = &shop.manifest()["nodes"]["model.shop.m"]["config"];
    assert_eq!(config["config_keys_used"], serde_json::json!(["limit", "other"]));
    assert_eq!(config["meta_keys_used"], serde_json::json!(["owner"]));
}

const INCREMENT: &str = "def model(dbt, session):
    dbt.config(materialized='incremental', unique_key='id', incremental_strategy='merge')
    df = dbt.ref('src').df()
    run = 0
    if dbt.is_incremental:
        run = session.sql(f'select max(run) as m from {dbt.this}').fetchone()[0] + 1
    df['run'] = run
    return df[['run', 'id', 'v']]
";

#[test]
fn an_increment_meets_what_is_there() {
    let Some(shop) = Shop::new(&[
        ("models/src.sql", "select * from (values (1, 'a'), (2, 'b')) as t(id, v)"),
        ("models/inc.py", INCREMENT),
        (
            "models/inc.yml",
            "models:\n  - name: inc\n    columns: [{name: id, data_tests: [unique, not_null]}]\n",
        ),
        ("models/after.sql", "select count(*) as n from {{ ref('inc') }}"),
        (
            "snapshots/s.yml",
            "snapshots:\n  - name: s\n    relation: ref('inc')\n    config: {unique_key: id, strategy: check, check_cols: [v]}\n",
        ),
    ]) else {
        return;
    };
    shop.build().ok();
    shop.sandbox.write("models/src.sql", "select * from (values (2, 'B'), (3, 'c')) as t(id, v)");
    shop.build().ok();
    assert_eq!(shop.rows("select id, v, run from inc order by id"), ["1,a,0", "2,B,1", "3,c,1"]);
    assert_eq!(shop.rows("select n from after"), ["3"]);
    assert_eq!(shop.rows("select count(*) from s where dbt_valid_to is not null"), ["1"]);
    // A column more is one more only where the model says so.
    shop.sandbox.write(
        "models/inc.py",
        INCREMENT
            .replace("df[['run', 'id', 'v']]", "df.assign(extra=1.5)[['run', 'id', 'v', 'extra']]"),
    );
    shop.build().ok();
    assert_eq!(shop.types("inc").len(), 3);
    shop.sandbox.write(
        "models/inc.py",
        INCREMENT
            .replace("df[['run', 'id', 'v']]", "df.assign(extra=1.5)[['run', 'id', 'v', 'extra']]")
            .replace("unique_key", "on_schema_change='append_new_columns', unique_key"),
    );
    shop.build().ok();
    assert_eq!(
        shop.rows("select id, run, extra from inc order by id"),
        ["1,0,", "2,3,1.5", "3,3,1.5"]
    );
    shop.run(&["build", "--full-refresh"]).ok();
    assert_eq!(shop.rows("select id, run from inc order by id"), ["2,0", "3,0"]);
    // A test that fails keeps what was there.
    shop.sandbox
        .write("models/src.sql", "select * from (values (2, 'X'), (null, 'c')) as t(id, v)");
    shop.build().fails_with(1).says("not_null");
    assert_eq!(shop.rows("select id, v from inc order by id"), ["2,B", "3,c"]);
}

#[test]
fn a_contract_holds_for_a_program_too() {
    let contract = |kind: &str| {
        format!(
            "models:\n  - name: m\n    config: {{contract: {{enforced: true}}}}\n    columns:\n      - {{name: id, data_type: bigint, constraints: [{{type: not_null}}]}}\n      - {{name: v, data_type: {kind}}}\n"
        )
    };
    let Some(shop) = Shop::new(&[
        (
            "models/m.py",
            "import pyarrow as pa\ndef model(dbt, session):\n    return pa.table({'v': [None, None], 'id': pa.array([1, 2], pa.int32())})\n",
        ),
        ("models/m.yml", &contract("integer")),
    ]) else {
        return;
    };
    shop.build().ok();
    assert_eq!(shop.types("m"), ["id bigint", "v integer"]);
    shop.sandbox.write("models/m.py", "import pyarrow as pa\ndef model(dbt, session):\n    return pa.table({'v': ['x', 'y'], 'id': [1, None]})\n");
    shop.build().fails_with(1).says("data type mismatch");
    shop.sandbox.write("models/m.yml", contract("text"));
    shop.build().fails_with(1).says("not_null");
    assert_eq!(shop.types("m"), ["id bigint", "v integer"]);
}

#[test]
fn a_failure_names_the_line_and_leaves_nothing() {
    let Some(shop) = Shop::new(&[("models/src.sql", "select 1 as id")]) else { return };
    let model = |body: &str| {
        format!("import pyarrow as pa\n\ndef model(dbt, session):\n    dbt.ref('src')\n{body}")
    };
    for (body, expected) in [
        (
            "    return pa.table({'x': [1 / 0]})\n",
            "ZeroDivisionError: division by zero (file: models/m.py:5)",
        ),
        ("    return pa.table({'x': [1 / 0]})\n", "    return pa.table({'x': [1 / 0]})"),
        (
            "    def rows():\n        yield pa.table({'x': [1]})\n        raise ValueError('late')\n    return rows()\n",
            "ValueError: late",
        ),
        (
            "    def rows():\n        yield pa.table({'x': [1]})\n        yield pa.table({'x': ['a']})\n    return rows()\n",
            "other columns than the first",
        ),
        ("    import nosuchlibrary\n    return 1\n", "-m pip install nosuchlibrary"),
        ("    return {'x': 1}\n", "not dict"),
        ("    return dbt.ref('src').groupby('id')\n", "read them with .df() (pandas)"),
        ("    return session.sql('select nope from main.src').df()\n", "nope"),
        ("    return session.cursor()\n", "the session has no `cursor`"),
        ("    return dbt.var('x')\n", "put the value under `config:`"),
        (
            "    import os, sys\n    print('last words', file=sys.stderr)\n    os._exit(3)\n    return 1\n",
            "Python ended in the middle of the model (exit status: 3)",
        ),
        (
            "    import os, sys\n    print('last words', file=sys.stderr)\n    os._exit(3)\n    return 1\n",
            "last words",
        ),
        ("    return pa.table({})\n", "a table needs at least one column"),
        ("    import pandas as pd\n    return pd.DataFrame({'o': [1, 'a']})\n", "column o"),
    ] {
        shop.sandbox.write("models/m.py", model(body));
        shop.build().fails_with(1).says(expected).does_not_say("<tidemill>");
        assert!(!shop.staged("m"), "{body}");
    }
    // What is not read off is told when the project is read.
    shop.sandbox.write("models/m.py", "def model(dbt, session):\n    return dbt.ref(name)\n");
    shop.run(&["parse"]).fails_with(2).says("have to be literals").says("models/m.py:2:20");
    shop.sandbox.write(
        "models/m.py",
        "def model(dbt, session):\n    dbt.config(materialized='view')\n    return 1\n",
    );
    shop.run(&["parse"]).ok();
    shop.build().fails_with(1).says("cannot be materialized as `view`");
    assert!(!shop.staged("m"));
    shop.sandbox.write("models/m.py", "def model(dbt, session):\n    return dbt.ref('srk')\n");
    shop.run(&["parse"]).fails_with(2).says("did you mean `src`?");
}

#[test]
fn a_missing_python_is_named_with_what_to_do() {
    let sandbox = Sandbox::new(&[("models/m.py", "def model(dbt, session):\n    return 1\n")]);
    sandbox
        .run_with(&[("TIDEMILL_PYTHON", "/nowhere/python")], &["build"])
        .fails_with(1)
        .says("Python cannot be started: `/nowhere/python`, which TIDEMILL_PYTHON names");
    let Some(python) = python() else { return };
    // Without its libraries: the standard one alone.
    sandbox.write("bare", format!("#!/bin/sh\nexec {python} -S \"$@\"\n"));
    let bare = sandbox.path("bare");
    std::process::Command::new("chmod").arg("+x").arg(&bare).status().unwrap();
    sandbox
        .run_with(&[("TIDEMILL_PYTHON", bare.to_str().unwrap())], &["build"])
        .fails_with(1)
        .says("has no pyarrow")
        .says("-m pip install pyarrow");
    sandbox.write(
        "models/m.yml",
        "models:\n  - name: m\n    config: {meta: {python: no/such/python}}\n",
    );
    sandbox.run(&["build"]).fails_with(1).says("no/such/python`, which the setting `python` names");
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_its_children() {
    let Some(shop) = Shop::new(&[(
        "models/m.py",
        "import subprocess, sys\ndef model(dbt, session):\n    dbt.config(timeout=1)\n\
         \x20   child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n\
         \x20   open('child', 'w').write(str(child.pid))\n    child.wait()\n    return 1\n",
    )]) else {
        return;
    };
    let began = Instant::now();
    shop.build().fails_with(1).says("longer than its `timeout` of 1 seconds");
    assert!(began.elapsed() < Duration::from_secs(30));
    let child = std::fs::read_to_string(shop.sandbox.path("child")).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn it_runs_each_time_unless_it_says_that_it_need_not() {
    let Some(shop) = Shop::new(&[
        ("models/src.sql", "select 1 as id"),
        ("models/m.py", "def model(dbt, session):\n    return dbt.ref('src').pl()\n"),
    ]) else {
        return;
    };
    shop.build().ok();
    shop.run(&["plan"]).ok().says("it is a Python model");
    shop.sandbox.write("models/m.yml", "models:\n  - name: m\n    config: {meta: {reuse: true}}\n");
    shop.build().ok();
    shop.build().ok().says("nothing to do");
    shop.sandbox.write("models/src.sql", "select 2 as id");
    shop.build().ok();
    assert_eq!(shop.rows("select id from m"), ["2"]);
    shop.sandbox.write(
        "models/m.py",
        "def model(dbt, session):\n    # more\n    return dbt.ref('src').pl()\n",
    );
    shop.build().ok().does_not_say("nothing to do");
}

#[test]
fn it_is_shown_compiled_and_built_empty_like_others() {
    let Some(shop) = Shop::new(&[
        ("models/src.sql", "select * from (values (1), (2), (3)) as t(id)"),
        (
            "models/eph.sql",
            "{{ config(materialized='ephemeral') }} select id * 10 as id from {{ ref('src') }}",
        ),
        (
            "models/m.py",
            "import pyarrow as pa\ndef model(dbt, session):\n    print('said by the model')\n\
             \x20   return pa.concat_tables([dbt.ref('src').arrow(), dbt.ref('eph').arrow()])\n",
        ),
    ]) else {
        return;
    };
    shop.build().ok().does_not_say("said by the model");
    assert_eq!(shop.rows("select sum(id), count(*) from m"), ["66,6"]);
    shop.run(&["show", "--select", "m", "--limit", "2", "--output", "csv"]).ok().says("id\n1\n2\n");
    shop.run(&["compile", "--select", "m"]).ok().says("class dbtObj").says("__dbt__cte__eph as (");
    shop.run(&["build", "--empty", "--select", "m"]).ok();
    assert_eq!(shop.rows("select count(*) from m"), ["0"]);
    shop.run(&["ls", "--select", "config.materialized:table"]).ok().says("shop.m");
}

#[test]
fn batches_of_a_microbatch_model_run_one_by_one() {
    let model = "
def model(dbt, session):
    dbt.config(materialized='incremental', incremental_strategy='microbatch', event_time='at',
               begin='2024-01-01', batch_size='day')
    rows = dbt.ref('events').df()
    if len(rows) and rows['v'].min() < 0:
        raise ValueError('below zero')
    rows['n'] = len(rows)
    return rows
";
    let Some(shop) = Shop::new(&[
        ("models/m.py", model),
        (
            "seeds/events.yml",
            "seeds:\n  - {name: events, config: {event_time: at, column_types: {at: timestamp}}}\n",
        ),
        (
            "seeds/events.csv",
            "id,at,v\n1,2024-01-01 01:00:00,1\n2,2024-01-01 02:00:00,2\n3,2024-01-02 00:00:00,-1\n4,2024-01-03 00:00:00,4\n",
        ),
    ]) else {
        return;
    };
    let days = ["build", "--event-time-start", "2024-01-01", "--event-time-end", "2024-01-04"];
    shop.run(&days).fails_with(1).says("1 of 3 batches failed").says("below zero");
    assert_eq!(shop.rows("select id, n from m order by id"), ["1,2", "2,2", "4,1"]);
    shop.sandbox.write(
        "seeds/events.csv",
        "id,at,v\n1,2024-01-01 01:00:00,1\n3,2024-01-02 00:00:00,1\n4,2024-01-03 00:00:00,4\n",
    );
    shop.run(&["seed"]).ok();
    shop.run(&["run", "--event-time-start", "2024-01-02", "--event-time-end", "2024-01-03"]).ok();
    assert_eq!(shop.rows("select id, n from m order by id"), ["1,2", "2,2", "3,1", "4,1"]);
    let folders = std::fs::read_dir(shop.sandbox.path("lake/main")).unwrap().flatten();
    let mut folders: Vec<_> = folders.map(|folder| folder.file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["events", "m"]);
    // One batch alone, whose rows come from the engine and keep to a contract.
    shop.sandbox.write("models/m.py", model.replace(".df()", "").replace("    if len(rows) and rows['v'].min() < 0:\n        raise ValueError('below zero')\n    rows['n'] = len(rows)\n", "    rows = rows.project('id, at, v, 7 as n')\n"));
    shop.run(&["run", "--event-time-start", "2024-01-03", "--event-time-end", "2024-01-04"]).ok();
    assert_eq!(shop.rows("select id, n from m order by id"), ["1,2", "2,2", "3,1", "4,7"]);
}

/// As dbt-duckdb's session: a frame with a name, in queries of that session, beside tables.
#[test]
fn a_registered_frame_is_queried_with_duckdb() {
    let Some(shop) = Shop::new(&[
        ("models/a.sql", "select 1 as id"),
        ("models/b.sql", "{{ config(materialized='table') }} select 1 as id, 40 as more"),
        (
            "models/m.py",
            "
def model(dbt, session):
    rows = dbt.ref('a')
    session.register('mine', rows.df())
    session.register('theirs', rows)
    dbt.ref('b')
    return session.sql(f'''with c as (select id, 100 as most from main.b)
        select mine.id + theirs.id + b.more + c.most as n
        from mine join theirs using (id) join {str(dbt.this).rsplit('.', 1)[0]}.b using (id) join c using (id)''')
",
        ),
    ]) else {
        return;
    };
    let has = std::process::Command::new(&shop.python).args(["-c", "import duckdb"]).status();
    if has.unwrap().success() {
        shop.build().ok();
        assert_eq!(shop.rows("select n from m"), ["142"]);
    } else {
        shop.build().fails_with(1).says("session.register()").says("pip install duckdb");
    }
}

/// As in DuckDB: a query may name rows and frames of variables, where no table has the name.
#[test]
fn a_query_sees_variables() {
    let Some(shop) = Shop::new(&[
        ("models/a.sql", "select 1 as id, 5 as v union all select 2, 7"),
        (
            "models/m.py",
            "
def model(dbt, session):
    wanted = dbt.ref('a').filter('v > 5')
    a = dbt.ref('a').limit(0)
    return session.sql('with more as (select * from wanted) select m.id, count(*) as n from more as m cross join a group by 1')
",
        ),
    ]) else {
        return;
    };
    shop.build().ok();
    // `a` is a table: it is meant, not the variable.
    assert_eq!(shop.rows("select id, n from m"), ["2,2"]);
    let has =
        std::process::Command::new(&shop.python).args(["-c", "import duckdb, pandas"]).status();
    if has.unwrap().success() {
        shop.sandbox.write(
            "models/m.py",
            "def model(dbt, session):\n    wanted = dbt.ref('a')\n    frame = wanted.df()\n    frame['v'] *= 2\n\
             \x20   return session.sql('select id, frame.v + wanted.v as n from frame join wanted using (id)')\n",
        );
        shop.build().ok();
        assert_eq!(shop.rows("select id, n from m order by id"), ["1,15", "2,21"]);
    }
}
