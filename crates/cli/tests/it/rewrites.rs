//! `update`, `delete` and `merge` write again the files that hold rows that change, and no others.

use std::fmt::Write as _;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// The files that the last version of a table added and took away, with their bytes.
struct Commit {
    added: Vec<i64>,
    removed: Vec<i64>,
}

fn last_commit(sandbox: &Sandbox, table: &str) -> Commit {
    let log = std::fs::read_dir(sandbox.path(&format!("lake/main/{table}/_delta_log"))).unwrap();
    let mut commits: Vec<_> = log.flatten().map(|file| file.path()).collect();
    commits.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    let text = std::fs::read_to_string(commits.last().unwrap()).unwrap();
    let actions: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sizes = |kind: &str| {
        actions.iter().filter_map(|action| action.get(kind)?["size"].as_i64()).collect()
    };
    Commit { added: sizes("add"), removed: sizes("remove") }
}

/// Ten files of a hundred rows each: `id` is ascending, `k` is anything.
fn ten_files() -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    let mut script = "create table t (id bigint, k bigint, s varchar);\n".to_owned();
    for file in 0..10 {
        let (from, to) = (file * 100, file * 100 + 99);
        writeln!(
            script,
            "insert into t select n, n % 7, 'row ' || n from generate_series({from}, {to}) as g(n);"
        )
        .unwrap();
    }
    sandbox.write("make.sql", script);
    sandbox.run(&["sql", "--file", "make.sql"]).ok();
    sandbox
}

#[test]
fn only_files_with_rows_that_change_are_written() {
    let sandbox = ten_files();
    for (statement, says, removed, added) in [
        ("update t set s = 'x' where id between 150 and 260", "111 rows", 2, 1),
        ("delete from t where id = 950", "1 row", 1, 1),
        (
            "delete from t where id in (select 400 + n from generate_series(0, 99) as g(n))",
            "100 rows",
            1,
            0,
        ),
        ("delete from t using (select 5 as x) as o where t.id = o.x", "1 row", 1, 1),
        (
            "update t as u set k = o.k from (select 333 as id, 70 as k) as o where u.id = o.id",
            "1 row",
            1,
            1,
        ),
        (
            "merge into t using (select * from (values (7, 1), (777, 2), (-1, 3)) as v (id, k)) as o on t.id = o.id \
             when matched and o.k = 1 then delete when matched then update set k = o.k \
             when not matched then insert (id, k) values (o.id, o.k)",
            "3 rows",
            2,
            1,
        ),
        // What is only added leaves every file as it is.
        (
            "merge into t using (select 10000 + n as id from generate_series(1, 5) as g(n)) as o on t.id = o.id \
             when not matched then insert (id) values (o.id)",
            "5 rows",
            0,
            1,
        ),
        (
            "merge into t using (select n as id from generate_series(0, 2000) as g(n)) as o on t.id = o.id \
             when not matched by source and t.id > 10003 then delete",
            "2 rows",
            1,
            1,
        ),
    ] {
        sandbox.run(&["sql", statement]).ok().says(says);
        let commit = last_commit(&sandbox, "t");
        assert_eq!((commit.removed.len(), commit.added.len()), (removed, added), "{statement}");
    }
    assert_eq!(
        sandbox.rows("select count(*), sum(id), count(distinct k) from t"),
        // 1,000 rows without 950, 400 to 499, 5 and 7, with -1 and 10001 to 10003.
        [format!("{},{},8", 1000 - 1 - 100 - 2 + 1 + 3, 499_500 - 950 - 44_950 - 12 - 1 + 30_006)]
    );
    // A condition that says nothing of files finds them as well; all are concerned here.
    sandbox.run(&["sql", "update t set s = 'y' where k = 3"]).ok();
    let commit = last_commit(&sandbox, "t");
    assert_eq!((commit.removed.len(), commit.added.len()), (7, 1));
    assert!(commit.removed.iter().sum::<i64>() > 0 && commit.added[0] > 0);
}

#[test]
fn what_is_wrong_is_said_in_the_names_of_the_statement() {
    let sandbox = ten_files();
    for statement in [
        "delete from t where idd = 5",
        "update t set s = 'x' where main.t.idd = 5",
        "merge into t using (select 1 as a) as s on t.idd = s.a when matched then delete",
    ] {
        sandbox.run(&["sql", statement]).fails_with(1).says("idd").does_not_say("__tidemill");
    }
    // Names with their schema, and what depends on the order of rows, are decided over all rows.
    sandbox.run(&["sql", "delete from t where main.t.id = 5"]).ok().says("1 row");
    sandbox
        .run(&["sql", "delete from t where id in (select id from t order by id limit 10)"])
        .ok()
        .says("10 rows");
    assert_eq!(sandbox.rows("select count(*), min(id) from t"), ["989,11"]);
    sandbox
        .run(&["sql", "delete from t where (select count(*) from information_schema.tables where table_schema = 'main') > 1"])
        .ok()
        .says("0 rows");
}

/// Numbers that look like chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn number(&mut self) -> String {
        match self.below(12) {
            0 => "null".to_owned(),
            _ => self.below(40).to_string(),
        }
    }

    fn condition(&mut self, kinds: u64) -> String {
        let (a, b) = (self.number(), self.below(40));
        match self.below(kinds) {
            0 => format!("x.a = {a}"),
            1 => format!("x.a between {b} and {}", b + 4),
            2 => format!("x.b > {b}"),
            3 => format!("x.c = 'c{b}' or x.a is null"),
            4 => "x.a in (select a from o)".to_owned(),
            5 => format!("x.a in (select a from o) and x.b < {b}"),
            _ => "exists (select 1 from o where o.a = x.a and o.b >= x.b)".to_owned(),
        }
    }

    fn statement(&mut self) -> String {
        let condition = self.condition(7);
        let of_clause = self.condition(4);
        match self.below(6) {
            0 => format!("delete from TABLE as x where {condition}"),
            1 => format!("update TABLE as x set b = coalesce(b, 0) + 1 where {condition}"),
            2 => "delete from TABLE as x using o where x.a = o.a and o.b > 20".to_owned(),
            3 => "update TABLE as x set c = 'o', b = k.n from (select a, max(b) as n from o group by a) as k \
                  where x.a = k.a and x.b is distinct from k.n"
                .to_owned(),
            4 => format!(
                "merge into TABLE as x using (select a, max(b) as b from o where a is not null group by a) as s \
                 on x.a = s.a and x.b > {} \
                 when matched and s.b > 25 then delete \
                 when matched and s.b is not null then update set b = s.b, c = 'm' \
                 when not matched and s.a % 2 = 0 then insert (a, b, c) values (s.a, s.b, 'n')",
                self.below(30)
            ),
            _ => format!(
                "merge into TABLE as x using (select distinct a from o) as s on x.a = s.a \
                 when not matched by source and ({of_clause}) then update set c = 'gone' \
                 when not matched then insert (a, c) values (s.a, 'new')"
            ),
        }
    }

    fn rows(&mut self, count: u64) -> String {
        let rows: Vec<String> = (0..count)
            .map(|_| format!("({}, {}, 'c{}')", self.number(), self.number(), self.below(40)))
            .collect();
        rows.join(", ")
    }
}

/// A temporary table is always written as a whole: the same statements make the same rows of both.
#[test]
fn files_that_are_left_alone_have_the_rows_that_a_whole_rewrite_gives() {
    for (seed, partition) in (1..=6u64).flat_map(|seed| [(seed, false), (seed + 100, true)]) {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let sandbox = Sandbox::new(&[(
            "models/t.sql",
            "{{ config(materialized='table', partition_by=['b']) }} \
             select cast(null as bigint) as a, cast(null as bigint) as b, cast(null as varchar) as c where false",
        )]);
        if partition {
            sandbox.build().ok();
        } else {
            sandbox.run(&["sql", "create table t (a bigint, b bigint, c varchar)"]).ok();
        }
        let mut script = format!(
            "create table o as select cast(a as bigint) as a, cast(b as bigint) as b from (values {}) as v (a, b, c);\n",
            chance.rows(12)
        );
        for _ in 0..5 {
            let count = 3 + chance.below(12);
            writeln!(script, "insert into t values {};", chance.rows(count)).unwrap();
        }
        script.push_str("create temporary table w as select * from t;\n");
        let mut statements = Vec::new();
        for _ in 0..8 {
            let statement = chance.statement();
            for table in ["t", "w"] {
                writeln!(script, "{};", statement.replace("TABLE", table)).unwrap();
            }
            statements.push(statement);
        }
        let counted =
            |table: &str| format!("select a, b, c, count(*) as n from {table} group by a, b, c");
        let (t, w) = (counted("t"), counted("w"));
        writeln!(
            script,
            "select (select count(*) from ({t} except {w}) as x) + (select count(*) from ({w} except {t}) as y) as differ, \
             (select count(*) from w) as rows;"
        )
        .unwrap();
        sandbox.write("changes.sql", &script);
        let outcome =
            sandbox.run(&["sql", "--file", "changes.sql", "--format", "csv", "--quiet"]).ok();
        let last = outcome.stdout.lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("0,"), "seed {seed}: {last}\n{script}");
        // What was read is what is published.
        let rows = last.trim_start_matches("0,").to_owned();
        assert_eq!(sandbox.value("select count(*) from t"), rows, "seed {seed}");
    }
}
