//! Redis: streams and keys, filled by `redis-cli`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use tidemill_testkit::RedisServer;

use super::{Project, STEPS, has_each_once};

/// A database of the server that no other test has.
struct Redis {
    server: &'static RedisServer,
    database: u32,
}

impl Redis {
    fn new() -> Option<Redis> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let server = RedisServer::shared()?;
        Some(Redis { server, database: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    #[track_caller]
    fn cli(&self, commands: &str) -> Vec<String> {
        self.server.cli(self.database, commands)
    }

    fn settings(&self) -> String {
        format!("url: 'redis://127.0.0.1:{}/{}'", self.server.port(), self.database)
    }

    fn project(&self, ingest: &str) -> Project {
        Project::new("redis", &self.settings(), ingest)
    }

    /// Adds entries with these numbers.
    fn adds(&self, from: u32, to: u32) {
        let mut commands = String::new();
        for n in from..to {
            let _ = writeln!(commands, "XADD s * n {n} text 'größe {n}'");
        }
        self.cli(&commands);
    }
}

const NUMBERED: &str = "stream: s; n";

#[test]
fn a_stream_is_read_on_from_its_last_entry() {
    let Some(redis) = Redis::new() else { return };
    redis.cli("XADD s 1700000000000-0 n 1 text 'a b' when 2024-05-01\nXADD s 1700000000001-5 n 007 'Weird Name' x");
    let project = redis.project("stream: s");
    project.ingests().says("2 rows");
    assert_eq!(
        project.rows("n, text, \"when\", weird_name, _stream, _id, cast(_timestamp as varchar) from raw.t order by _id"),
        [
            "1,a b,2024-05-01,,s,1700000000000-0,2023-11-14 22:13:20+00",
            "007,,,x,s,1700000000001-5,2023-11-14 22:13:20.001+00",
        ]
    );
    project.ingests().does_not_say("rows");
    redis.cli("XADD s 1700000000001-6 n 3");
    project.ingests().says("1 row");
    assert_eq!(project.rows("n from raw.t order by _id"), ["1", "007", "3"]);
    // Nothing is left there.
    assert_eq!(redis.cli("XINFO GROUPS s"), [] as [&str; 0]);
}

#[test]
fn a_field_of_an_entry_may_be_its_body() {
    let Some(redis) = Redis::new() else { return };
    redis.cli("XADD s 1-1 data '{\"id\": 1, \"tags\": [\"x\"]}' trace t1\nXADD s 1-2 data '{\"id\":' trace t2\nXADD s 1-3 other y");
    let project = redis.project("stream: s, field: data, max_rejects: 1");
    project.ingests().says("2 rows").says("1 row could not be read");
    assert_eq!(
        project.rows("id, tags[1], _headers from raw.t order by _id"),
        ["1,x,\"{\"\"trace\"\":\"\"t1\"\"}\"", ",,\"{\"\"other\"\":\"\"y\"\"}\""]
    );
    assert_eq!(project.rows("_source_file, raw from raw.t__rejected"), ["s@1-2,\"{\"\"id\"\":\""]);
    // A rejected entry is not read again.
    project.ingests().does_not_say("could not be read");
}

#[test]
fn a_load_killed_anywhere_has_every_entry_once() {
    let Some(redis) = Redis::new() else { return };
    redis.adds(0, 50);
    let project = redis.project(NUMBERED);
    let mut end = 50;
    for step in STEPS {
        assert!(project.0.dies_at(step, &["ingest"]), "{step} never fired");
        redis.adds(end, end + 10);
        end += 10;
    }
    project.ingests();
    has_each_once(&project, 0, end);
}

#[test]
fn entries_that_were_trimmed_before_they_were_read_are_an_error() {
    let Some(redis) = Redis::new() else { return };
    redis.adds(0, 10);
    let project = redis.project("stream: s");
    project.ingests().says("10 rows");
    // What was read may go.
    redis.cli("XTRIM s MAXLEN 0");
    project.ingests();
    redis.adds(10, 30);
    redis.cli("XTRIM s MAXLEN 15");
    project
        .0
        .run(&["ingest"])
        .fails_with(1)
        .says("5 entries were trimmed or deleted")
        .says("`on_lost: earliest`");
    assert_eq!(project.value("count(*) from raw.t"), "10");
    project.loads("stream: s, on_lost: earliest");
    project.ingests().says("15 rows").says("5 entries were trimmed");
    project.ingests().does_not_say("trimmed");
    // Made anew, with smaller ids.
    project.loads("stream: s");
    redis.cli("DEL s\nXADD s 5-0 n 99");
    project.0.run(&["ingest"]).fails_with(1).says("made anew");
    project.loads("stream: s, on_lost: earliest");
    project.ingests().says("1 row").says("made anew");
    redis.cli("DEL s");
    project.0.run(&["ingest"]).fails_with(1).says("there is no stream `s`");
}

#[test]
fn a_load_takes_as_much_as_it_is_told() {
    let Some(redis) = Redis::new() else { return };
    redis.adds(0, 25);
    let project = redis.project("stream: s, max_messages: 10; n");
    project.ingests().says("10 messages are loaded, and about 15 are left");
    project.ingests().says("10 rows");
    project.ingests().says("5 rows").does_not_say("left");
    has_each_once(&project, 0, 25);
}

#[test]
fn a_stream_is_read_from_where_it_is_said() {
    let Some(redis) = Redis::new() else { return };
    redis.cli("XADD s 1700000000000-0 n 1\nXADD s 1700000000001-0 n 2\nXADD s 1700000000001-1 n 3");
    let latest = redis.project("stream: s, start: latest");
    latest.ingests();
    let since = redis.project("stream: s, start: '2023-11-14T22:13:20.001Z'");
    since.ingests().says("2 rows");
    redis.cli("XADD s 1700000000002-0 n 4");
    latest.ingests().says("1 row");
    assert_eq!(latest.rows("n from raw.t"), ["4"]);
}

#[test]
fn keys_are_a_table_whatever_they_hold() {
    let Some(redis) = Redis::new() else { return };
    redis.cli(
        "HSET user:1 name Ada age 36\nHSET user:2 name Bob\nSET text:1 'some text'\nSET json:1 '{\"a\": 1.50}'\n\
         RPUSH list:1 x y x\nSADD set:1 p q\nZADD zset:1 1.5 a 2 b\nXADD log:1 * a 1",
    );
    let project = redis.project("keys: 'user:*', mode: full");
    project.ingests().says("2 rows");
    assert_eq!(
        project.rows("name, age, _key, _type from raw.t order by 3"),
        ["Ada,36,user:1,hash", "Bob,,user:2,hash"]
    );
    redis.cli("DEL user:1\nHSET user:3 name Cy age 7");
    project.ingests().says("2 rows");
    assert_eq!(project.rows("name, age from raw.t order by _key"), ["Bob,", "Cy,7"]);
    for (ingest, select, expected) in [
        ("keys: 'text:*', mode: full", "_key, value from raw.t", vec!["text:1,some text"]),
        ("keys: 'json:*', format: json, mode: full", "_key, a from raw.t", vec!["json:1,1.5"]),
        (
            "keys: 'json:*', format: text, mode: full",
            "value from raw.t",
            vec!["\"{\"\"a\"\": 1.50}\""],
        ),
        (
            "keys: 'list:*', mode: full",
            "index, value from raw.t order by 1",
            vec!["0,x", "1,y", "2,x"],
        ),
        ("keys: 'set:*', mode: full", "value from raw.t order by 1", vec!["p", "q"]),
        (
            "keys: 'zset:*', mode: full",
            "value, score from raw.t order by 1",
            vec!["a,1.5", "b,2.0"],
        ),
        (
            "keys: '*:1', type: set, mode: full",
            "_key, value from raw.t order by 2",
            vec!["set:1,p", "set:1,q"],
        ),
    ] {
        let project = redis.project(ingest);
        project.ingests();
        assert_eq!(project.rows(select), expected, "{ingest}");
    }
    let mixed = redis.project("keys: '*', mode: full");
    mixed.ingests().says("1 key holds values of type stream");
    assert_eq!(mixed.value("count(distinct _key) from raw.t"), "7");
    redis.project("keys: 'user:*'").0.run(&["ingest"]).fails_with(1).says("`mode: full`");
    redis.project("stream: 'user:2'").0.run(&["ingest"]).fails_with(1).says("`keys: \"user:2\"`");
    redis
        .project("keys: '*', format: text, mode: full")
        .0
        .run(&["ingest"])
        .fails_with(1)
        .says("`type: string`");
}

#[test]
fn large_values_come_whole_and_keys_once() {
    let Some(redis) = Redis::new() else { return };
    let mut commands = String::new();
    for n in 0..12_000 {
        let _ = writeln!(
            commands,
            "RPUSH list {n}\nSADD set m{n}\nZADD zset {n} m{n}\nHSET h:{} n {n}",
            n % 11_000
        );
    }
    redis.cli(&commands);
    for (ingest, count) in
        [("list", "12000"), ("set", "12000"), ("zset", "12000"), ("h:*", "11000")]
    {
        let project = redis.project(&format!("keys: '{ingest}', mode: full"));
        project.ingests();
        let what = if ingest == "h:*" { "_key" } else { "value" };
        assert_eq!(
            project.value(&format!("count(*) || ' ' || count(distinct {what}) from raw.t")),
            format!("{count} {count}")
        );
    }
}

#[test]
fn who_logs_in_is_checked_and_no_secret_is_told() {
    let Some(redis) = Redis::new() else { return };
    redis.cli("ACL SETUSER reader on >right-word ~s +@read +@connection\nXADD s 1-1 n 1");
    let settings = format!("{}, user: reader, password: {{env: REDIS_WORD}}", redis.settings());
    let project = Project::new("redis", &settings, "stream: s");
    project.0.run_with(&[("REDIS_WORD", "right-word")], &["ingest"]).ok().says("1 row");
    let outcome = project.0.run_with(&[("REDIS_WORD", "wrong-word")], &["connection", "test"]);
    outcome.fails_with(1).says("does not accept the login").does_not_say("wrong-word");
    project.loads("stream: other");
    let outcome = project.0.run_with(&[("REDIS_WORD", "right-word")], &["ingest"]);
    outcome.fails_with(1).says("may not do this");
    let away = Project::new("redis", "url: 'redis://127.0.0.1:1'", "stream: s");
    away.0
        .run(&["ingest"])
        .fails_with(1)
        .says("Redis cannot be reached")
        .says("redis://127.0.0.1:1");
}

#[test]
fn a_cluster_is_refused_by_name() {
    let Some(server) = RedisServer::own("--cluster-enabled yes") else { return };
    let settings = format!("url: 'redis://127.0.0.1:{}'", server.port());
    let project = Project::new("redis", &settings, "stream: s");
    project.0.run(&["connection", "test"]).fails_with(1).says("Redis Cluster is not read");
}

#[test]
fn what_there_is_is_shown() {
    let Some(redis) = Redis::new() else { return };
    redis.cli("XADD orders 1-1 n 1\nXADD orders 1-2 n 2\nHSET user:1 name Ada\nHSET user:2 name Bob\nSET counter 7");
    let project = redis.project("stream: orders");
    project.0.run(&["connection", "test"]).ok().says("OK");
    let found = project.0.run(&["connection", "discover", "mq"]).ok();
    let found = found.says("orders  2 rows").says("user:*  2 rows").says("counter  1 row");
    found.says("3 tables");
    project.0.run(&["connection", "preview", "mq", "orders"]).ok().says("1-2");
    project.0.run(&["connection", "preview", "mq", "user:*"]).ok().says("Ada").says("user:2");
    project.0.run(&["connection", "preview", "mq", "counter"]).ok().says("7");
    project.0.run(&["ingest", "--dry-run"]).ok().says("would");
}

#[test]
fn a_hundred_thousand_entries_are_those_that_redis_has() {
    let Some(redis) = Redis::new() else { return };
    let mut commands = String::new();
    for n in 0..100_000 {
        let _ = writeln!(commands, "XADD s {}-{} n {n} text t{}", 1 + n / 7, n % 7, n % 1000);
    }
    redis.cli(&commands);
    let project = redis.project(NUMBERED);
    project.ingests().says("100,000 rows");
    has_each_once(&project, 0, 100_000);
    // Each field of each entry, as `redis-cli` says it: an id, and its four words.
    let there = redis.cli("XRANGE s - +");
    let mut there: Vec<String> =
        there.chunks(5).map(|entry| format!("{},{},{}", entry[0], entry[2], entry[4])).collect();
    let mut here = project.rows("_id, n, text from raw.t");
    there.sort();
    here.sort();
    assert!(there == here, "{:?} and {:?}", there.first(), here.first());
}
