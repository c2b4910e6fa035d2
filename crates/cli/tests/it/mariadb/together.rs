//! The tables of a MariaDB that are followed have its log read once.

use tidemill_testkit::MariaDbServer;

use super::Shop;
use crate::databases::LOAD_STEPS;
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
        self.server.run(&self.database, sql).1
    }
}

#[test]
fn the_log_is_read_once_for_all_tables() {
    let Some(server) = MariaDbServer::own("--general-log=1 --log-output=TABLE") else { return };
    let shop = Shop::new(&server, "");
    let names: Vec<String> = (1..=30).map(|n| format!("t{n}")).collect();
    names.iter().for_each(|name| shop.makes(name, 3));
    let tables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "mode: cdc")).collect();
    shop.has(&tables);
    shop.ingests();
    for (n, name) in names.iter().enumerate() {
        shop.sql(&format!("update {name} set part = 1 where id = {}", n % 3 + 1));
    }
    let reads = || -> u32 {
        let read = "select count(*) from mysql.general_log where command_type = 'Binlog Dump'";
        shop.sql(read)[0].parse().unwrap()
    };
    let before = reads();
    shop.ingests();
    assert_eq!(reads() - before, 1);
    names.iter().for_each(|name| shop.is_whole(name));
    // From different places on as well, of which one file is the next one.
    for name in &names[..3] {
        shop.sql(&format!("update {name} set part = 2; flush binary logs"));
        let selected = format!("source:shop.{name}");
        shop.sandbox.run(&["ingest", "--select", &selected]).ok();
    }
    for name in &names {
        shop.sql(&format!("update {name} set part = part + 1; delete from {name} where id = 2"));
    }
    let before = reads();
    shop.ingests();
    assert_eq!(reads() - before, 1);
    names.iter().for_each(|name| shop.is_whole(name));
}

#[test]
fn what_is_lost_to_one_table_is_not_lost_to_others() {
    let Some(server) = MariaDbServer::own("") else { return };
    let shop = Shop::new(&server, "");
    let names = ["one", "two", "three"];
    names.iter().for_each(|name| shop.makes(name, 5));
    shop.has(&names.map(|name| (name, "mode: cdc")));
    shop.ingests();
    shop.sql("update one set part = 1; update two set part = 1; flush binary logs");
    for name in ["two", "three"] {
        let selected = format!("source:shop.{name}");
        shop.sql(&format!("update {name} set part = part + 1; flush binary logs"));
        shop.sandbox.run(&["ingest", "--select", &selected]).ok();
    }
    // The log that `one` needs is removed; `two` is altered in a way that the log does not tell.
    let file = shop.log_file();
    shop.sql("flush binary logs");
    shop.purges_up_to(&file);
    shop.sql("update three set part = 9; alter table two rename column part to part_of; update three set id = 50 where id = 5");
    let said = shop.sandbox.run(&["ingest"]).fails_with(1).all();
    assert_eq!(said.matches("are lost").count(), 2, "{said}");
    shop.is_whole("three");
}

#[test]
fn tables_that_are_followed_together_outlive_kills() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::new(server, "");
    shop.tables_outlive_kills(|| {});
}

#[test]
fn tables_are_made_whole_after_kills_at_any_step() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::new(server, "");
    shop.tables_are_whole_after_kills(&LOAD_STEPS);
}

#[test]
fn parts_of_the_tables_of_a_source_are_loaded() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::new(server, "");
    shop.parts_of_tables_are_loaded();
}
