//! The tables of a PostgreSQL that are followed share a replication slot and a publication.

use tidemill_testkit::PostgresServer;

use super::loads::Shop;
use crate::databases::{Following, LOAD_STEPS};
use crate::followed_tables::Tables;
use crate::sandbox::Sandbox;

impl Tables for Shop<'_> {
    fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    fn sql(&self, sql: &str) -> Vec<String> {
        Shop::sql(self, sql)
    }

    fn writes(&self, sql: &str) -> bool {
        Shop::writes(self, sql)
    }
}

/// How much of its log the server keeps for the slots of the database.
const KEPT: &str = "select max(pg_current_wal_flush_lsn() - confirmed_flush_lsn)::bigint from pg_replication_slots \
     where database = current_database() and not temporary";

#[test]
fn thirty_tables_are_followed_by_one_slot() {
    let Some(server) = PostgresServer::start_with("-c max_replication_slots=10") else { return };
    let shop = Shop::new(&server, "");
    let names: Vec<String> = (1..=30).map(|n| format!("t{n}")).collect();
    names.iter().for_each(|name| shop.makes(name, 3));
    let tables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "mode: cdc")).collect();
    shop.has(&tables[..28]);
    Tables::ingests(&shop);
    let slots = shop.slots();
    assert_eq!(slots.len(), 1);
    assert_eq!(shop.sql("select pubname from pg_publication"), ["tidemill_shop"]);
    let changes = |names: &[String], part: u32| {
        for (n, name) in names.iter().enumerate() {
            let id = n % 3 + 1;
            shop.sql(&format!("update {name} set part = {part} where id = {id}"));
        }
    };
    changes(&names, 1);
    Tables::ingests(&shop);
    names[..28].iter().for_each(|name| shop.is_whole(name));
    assert_eq!(shop.slots(), slots);
    // Others join later; all go on by one slot again.
    shop.has(&tables);
    Tables::ingests(&shop);
    changes(&names, 2);
    Tables::ingests(&shop);
    changes(&names, 3);
    Tables::ingests(&shop);
    names.iter().for_each(|name| shop.is_whole(name));
    assert_eq!(shop.slots().len(), 1);
    assert_ne!(shop.slots(), slots);
    // The log is let go when the last table has it, also where most tables do not change.
    let kept = || shop.sql(KEPT)[0].parse::<u64>().unwrap();
    shop.sql("create table noise (text text)");
    for round in 1..4 {
        shop.sql(
            "insert into noise select repeat(md5(n::text), 30) from generate_series(1, 20000) n",
        );
        changes(&names[..1], 10 + round);
        Tables::ingests(&shop);
        assert!(kept() < 40 << 20, "{}", kept());
    }
}

#[test]
fn tables_that_are_followed_together_outlive_kills() {
    let Some(server) = PostgresServer::start() else { return };
    let shop = Shop::new(&server, "");
    shop.tables_outlive_kills(|| server.restart());
    Tables::ingests(&shop);
    assert_eq!(shop.slots().len(), 1);
}

#[test]
fn tables_are_made_whole_after_kills_at_any_step() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, "");
    shop.tables_are_whole_after_kills(&LOAD_STEPS);
    Tables::ingests(&shop);
    assert_eq!(shop.slots().len(), 1);
}

#[test]
fn parts_of_the_tables_of_a_source_are_loaded() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, "");
    shop.parts_of_tables_are_loaded();
    Tables::ingests(&shop);
    assert_eq!(shop.slots().len(), 1);
}

#[test]
fn a_table_that_is_behind_holds_the_log_for_itself_alone() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, "");
    for table in ["one", "two"] {
        shop.makes(table, 5);
    }
    shop.has(&[("one", "mode: cdc"), ("two", "mode: cdc")]);
    Tables::ingests(&shop);
    let confirmed = "select confirmed_flush_lsn from pg_replication_slots where database = current_database() and not temporary";
    let before = Shop::sql(&shop, confirmed);
    for part in 1..4 {
        shop.sql(&format!("update one set part = {part}; update two set part = {part}"));
        shop.sandbox.run(&["ingest", "--select", "source:shop.one"]).ok();
        shop.is_whole("one");
    }
    assert_eq!(Shop::sql(&shop, confirmed), before);
    Tables::ingests(&shop);
    shop.is_whole("two");
    assert_ne!(Shop::sql(&shop, confirmed), before);
    // A slot that is lost is lost for all, and each says so.
    shop.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database() and not temporary; update one set part = 7; update two set part = 7");
    let said = shop.sandbox.run(&["ingest"]).fails_with(1).all();
    assert_eq!(said.matches("is gone").count(), 2, "{said}");
    shop.has(&[
        ("one", "mode: cdc, on_slot_loss: snapshot"),
        ("two", "mode: cdc, on_slot_loss: snapshot"),
    ]);
    Tables::ingests(&shop).says("is read again as a whole");
    shop.sql("delete from one where id = 1; delete from two where id = 2");
    Tables::ingests(&shop);
    shop.is_whole("one");
    shop.is_whole("two");
    assert_eq!(shop.slots().len(), 1);
}

#[test]
fn publications_of_others_and_partitions_are_followed() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(
        server,
        "create table parts (id int, part int, text text, primary key (id, part)) partition by range (part); \
         create table parts_low partition of parts for values from (0) to (10); \
         create table parts_high partition of parts for values from (10) to (100); \
         insert into parts select n, n, 'good' from generate_series(1, 20) n",
    );
    for table in ["one", "two", "three"] {
        shop.makes(table, 5);
    }
    shop.sql("create publication theirs for table one, two");
    shop.sandbox.write(
        "models/s.yml",
        "sources:\n  - name: shop\n    schema: raw\n    ingest: {connection: shop, mode: cdc, primary_key: id}\n    tables:\n      \
         - {name: one, ingest: {publication: theirs}}\n      - {name: two, ingest: {publication: theirs}}\n      \
         - {name: three}\n      - {name: parts, ingest: {primary_key: [id, part]}}\n",
    );
    Tables::ingests(&shop);
    for part in 1..3 {
        shop.sql(&format!(
            "begin; update one set part = {part}; update two set part = {part}; update three set part = {part}; \
             update parts set part = part + 5 where id = 7; delete from parts where id = {part}; \
             insert into parts_high values ({part} + 100, 50, 'new'); commit"
        ));
        Tables::ingests(&shop);
        for table in ["one", "two", "three", "parts"] {
            shop.is_whole(table);
        }
    }
    // One for each publication.
    assert_eq!(shop.slots().len(), 2);
    assert_eq!(
        shop.sql(
            "select tablename from pg_publication_tables where pubname = 'tidemill_shop' order by 1"
        ),
        ["parts", "three"]
    );
}

/// Positions as versions before wrote them: each table has a slot and a publication of its own.
fn has_slots_of_their_own(shop: &Shop<'_>, tables: &[&str]) {
    let shared = shop.slots().remove(0);
    for table in tables {
        shop.sql(&format!(
            "create publication tidemill_public_{table} for table only {table} with (publish_via_partition_root = true)"
        ));
    }
    // A slot is made behind its publication.
    for table in tables {
        shop.sql(&format!(
            "select pg_create_logical_replication_slot('tidemill_public_{table}_00000001', 'pgoutput')"
        ));
    }
    shop.sql(&format!(
        "select pg_drop_replication_slot('{shared}'); drop publication tidemill_shop"
    ));
    let catalog = shop.sandbox.path("lake/_tidemill/catalog");
    let mut entries: Vec<_> = std::fs::read_dir(&catalog).unwrap().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        rewrite(&mut value, &shared, shop);
        std::fs::write(entry.path(), serde_json::to_string(&value).unwrap()).unwrap();
    }
}

fn rewrite(value: &mut serde_json::Value, shared: &str, shop: &Shop<'_>) {
    use serde_json::Value;
    match value {
        Value::Object(object) if object.get("slot").is_some_and(|slot| slot == shared) => {
            object.remove("begins");
            let number = object["table"].as_str().unwrap().to_owned();
            let table = shop.sql(&format!("select {number}::regclass")).remove(0);
            let slot = format!("tidemill_public_{table}_00000001");
            let lsn = shop.sql(&format!(
                "select confirmed_flush_lsn from pg_replication_slots where slot_name = '{slot}'"
            ));
            object.insert("lsn".to_owned(), lsn[0].clone().into());
            object.insert("slot".to_owned(), slot.into());
            object.insert("publication".to_owned(), format!("tidemill_public_{table}").into());
        }
        Value::Object(object) => object.values_mut().for_each(|value| rewrite(value, shared, shop)),
        Value::Array(values) => values.iter_mut().for_each(|value| rewrite(value, shared, shop)),
        _ => {}
    }
}

#[test]
fn tables_with_slots_of_their_own_move_to_one_that_they_share() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, "");
    let names = ["one", "two", "three"];
    names.iter().for_each(|table| shop.makes(table, 5));
    shop.has(&names.map(|name| (name, "mode: cdc")));
    Tables::ingests(&shop);
    has_slots_of_their_own(&shop, &names);
    assert_eq!(shop.slots().len(), 3);
    shop.sql("update one set part = 1; delete from two where id = 1; update three set id = 100 where id = 1");
    // Alone a table goes on as it is.
    shop.sandbox.run(&["ingest", "--select", "source:shop.one"]).ok();
    shop.is_whole("one");
    assert_eq!(shop.slots().len(), 3);
    // Killed before the new slot is a lasting one, they go on by their own.
    shop.sql("update one set part = 2; update two set part = 2");
    assert!(shop.sandbox.dies_at("publish.before-acknowledge", &["ingest"]));
    shop.sql("update one set part = 3 where id < 3; update three set part = 3");
    for _ in 0..2 {
        Tables::ingests(&shop);
        names.iter().for_each(|table| shop.is_whole(table));
        shop.sql("update one set part = part + 1; delete from three where id = 2");
    }
    Tables::ingests(&shop);
    names.iter().for_each(|table| shop.is_whole(table));
    assert_eq!(shop.slots().len(), 1);
    assert!(!shop.slots()[0].contains("public"), "{:?}", shop.slots());
}

#[test]
fn a_first_load_that_is_given_up_holds_nothing_of_the_server() {
    let Some(server) = PostgresServer::start() else { return };
    let shop = Shop::new(&server, "");
    shop.makes("good", 3);
    shop.makes("bad", 3);
    shop.has(&[("good", "mode: cdc, changes: true, lag: 1s")]);
    Tables::ingests(&shop);
    // Its checks fail, so that it is read and never published.
    shop.sql("update bad set text = 'wrong'");
    shop.has(&[
        ("good", "mode: cdc, changes: true, lag: 1s"),
        ("bad", "mode: cdc, changes: true, lag: 1s"),
    ]);
    let following = Following::start(&shop.sandbox);
    following.says("it is not loaded any more, after 5 attempts");
    let first = "select count(*) from pg_replication_slots where slot_name like '%\\_first'";
    let began = std::time::Instant::now();
    while shop.sql(first) != ["0"] {
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", shop.slots());
    }
    // The other one goes on, and its log is let go.
    shop.sql("update good set part = 9");
    let part = || shop.sandbox.value("select min(part) from raw.good");
    while part() != "9" {
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
    }
    following.stop(1);
    assert_eq!(shop.slots().len(), 1);
}
