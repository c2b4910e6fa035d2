//! What the log of changes of a MariaDB delivers: values that are those of a query.

use arrow::datatypes::{DataType, Field};
use serde_json::json;
use tidemill_core::{Position, ReadScope};

use crate::behaviour::Fixture;
use crate::mysql::Database;
use crate::reading::{Outcome, Request};

fn followed(position: Option<Position>, declared: &[Field]) -> Request {
    Request {
        primary_key: vec!["id".to_owned()],
        position,
        declared: declared.to_vec(),
        ..Request::of(json!({"table": "t"}), ReadScope::Log)
    }
}

/// Types and values of them.
const VALUES: &[(&str, &[&str])] = &[
    ("tinyint", &["-128", "127", "0"]),
    ("tinyint unsigned", &["255", "128", "0"]),
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("smallint unsigned", &["65535", "32768"]),
    ("mediumint", &["-8388608", "8388607", "-1"]),
    ("mediumint unsigned", &["16777215", "8388608"]),
    ("int", &["-2147483648", "2147483647"]),
    ("int unsigned", &["4294967295", "2147483648"]),
    ("int zerofill", &["7"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("bigint unsigned", &["18446744073709551615", "9223372036854775808"]),
    ("year", &["2024", "1901", "2155", "0"]),
    ("float", &["1.5", "-3.4e38", "0.1", "1e-30"]),
    ("float(7,2)", &["12345.67"]),
    ("double", &["0.1", "-1.7e308", "5e-324", "0"]),
    ("decimal(10,2)", &["-12.3", "99999999.99", "-99999999.99", "0", "0.01", "-0.01"]),
    ("decimal(6,0)", &["123456", "-999999", "0"]),
    ("decimal(3,3)", &["0.123", "-0.999", "0"]),
    ("decimal(9,2) unsigned", &["1234567.89"]),
    ("decimal(18,9)", &["123456789.123456789", "-1", "0.000000001"]),
    ("decimal(38,10)", &["-1234567890123456789012345678.0123456789", "1", "0"]),
    (
        "decimal(65,30)",
        &["12345678901234567890123456789012345.123456789012345678901234567891", "-0.5"],
    ),
    ("date", &["'2024-02-29'", "'0000-00-00'", "'9999-12-31'", "'1000-01-01'", "'2024-02-00'"]),
    ("datetime", &["'1969-12-31 23:59:59'", "'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'"]),
    ("datetime(1)", &["'2024-02-29 10:20:30.9'"]),
    ("datetime(3)", &["'2024-02-29 10:20:30.007'"]),
    ("datetime(6)", &["'2024-02-29 10:20:30.123456'", "'1000-01-01 00:00:00.000001'"]),
    (
        "timestamp null",
        &["'2024-02-29 10:20:30'", "'2038-01-19 03:14:07'", "'1970-01-01 00:00:01'"],
    ),
    ("timestamp(2) null", &["'2024-02-29 10:20:30.07'"]),
    ("timestamp(6) null", &["'2024-02-29 10:20:30.000001'", "0"]),
    ("time", &["'10:20:30'", "'-838:59:59'", "'838:59:59'", "'-00:00:01'"]),
    ("time(1)", &["'-49:02:03.5'", "'00:00:00.1'", "'-00:00:00.1'"]),
    ("time(4)", &["'-00:00:00.0001'", "'100:00:00.9999'"]),
    ("time(6)", &["'-00:00:00.000001'", "'-10:00:00.500000'", "'23:59:59.999999'"]),
    ("char(4)", &["'ab'", "''", "'größ'"]),
    ("char(255)", &["'x'", "repeat('ß', 255)"]),
    ("varchar(9)", &["'größe☃'", "''", "' a '"]),
    ("varchar(2000)", &["repeat('☃', 2000)", "'x'"]),
    ("tinytext", &["'a\tb'"]),
    ("text", &["'a\tb\n'", "repeat('x', 60000)", "'😀'"]),
    ("mediumtext", &["repeat('x', 70000)"]),
    ("longtext", &["'x'"]),
    (
        "varchar(200) character set latin1",
        &["'größe €'", "convert(unhex('808182fdff') using latin1)"],
    ),
    ("text character set latin2", &["'łódź'"]),
    ("char(9) character set cp1251", &["'привет'"]),
    ("varchar(9) character set koi8r", &["'привет'"]),
    ("varchar(9) character set cp850", &["'größe'"]),
    ("varchar(9) character set greek", &["'αβγ'"]),
    ("varchar(9) character set ascii", &["'abc'"]),
    ("varchar(9) character set ucs2", &["'größe☃'"]),
    ("varchar(9) character set utf16", &["'a😀'"]),
    ("varchar(9) character set utf16le", &["'a😀'"]),
    ("varchar(9) character set utf32", &["'a😀'"]),
    ("varchar(9) character set utf8mb3", &["'größe☃'"]),
    ("enum('a','so so','it''s','ß')", &["'so so'", "'it''s'", "'ß'", "''"]),
    ("enum('a','b') character set latin1", &["'b'"]),
    ("set('a','b','c')", &["'a,b'", "''", "'a'"]),
    ("set('a','b','c','d','e','f','g','h','ä')", &["'a,ä'"]),
    ("json", &["'{\"a\": [1, null], \"ß\": 1.50}'"]),
    (
        "uuid",
        &[
            "'00010203-0405-0607-0809-0a0b0c0d0e0f'",
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'f47ac10b-58cc-4372-a567-0e02b2c3d479'",
            "'1ec9414c-232a-6b00-b3c8-9e6bdeced846'",
            "'017f22e2-79b0-7cc3-98c4-dc0c0c07398f'",
            "'2489e9ad-2ee2-8e00-8ec9-32d5f69181c0'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'f47ac10b-58cc-4372-0567-0e02b2c3d479'",
            "'f47ac10b-58cc-9372-a567-0e02b2c3d479'",
            "'f47ac10b-58cc-0372-a567-0e02b2c30000'",
        ],
    ),
    (
        "inet6",
        &[
            "'::1'",
            "'::'",
            "'2001:db8::ff00:42:8329'",
            "'::ffff:10.0.0.1'",
            "'::10.0.0.1'",
            "'1::'",
            "'1:0:0:2::3'",
        ],
    ),
    ("inet4", &["'10.0.0.1'", "'255.255.255.255'", "'10.0.0.0'", "'0.0.0.0'"]),
    ("binary(4)", &["x'00ff'", "x'01000000'", "x''"]),
    ("binary(255)", &["x'ff'"]),
    ("varbinary(9)", &["x'0102'", "x'0100'", "x''"]),
    ("varbinary(900)", &["x'0102'"]),
    ("tinyblob", &["x'00'"]),
    ("blob", &["x''", "x'00ff00'"]),
    ("longblob", &["repeat(x'00', 70000)"]),
    ("point", &["point(1, 2)"]),
    ("geometry", &["st_geomfromtext('LINESTRING(0 0,1 1)', 4326)"]),
    ("bit(1)", &["b'1'", "b'0'"]),
    ("bit(8)", &["b'11111111'"]),
    ("bit(9)", &["b'100000001'", "b'1'"]),
    ("bit(64)", &["0x3132333435363738", "0xffffffffffffffff"]),
];

fn columns() -> Vec<String> {
    let column = |(at, (kind, _)): (usize, &(&str, &[&str]))| match kind.contains("null") {
        true => format!("c{at} {kind}"),
        false => format!("c{at} {kind} null"),
    };
    VALUES.iter().enumerate().map(column).collect()
}

/// Rows from this number on: each value at least once, and NULL.
fn rows(from: usize) -> String {
    let longest = VALUES.iter().map(|(_, values)| values.len()).max().unwrap();
    let rows: Vec<String> = (0..=longest)
        .map(|row| {
            let value = |values: &[&'static str]| match row {
                row if row == longest => "null",
                row => values[row % values.len()],
            };
            let values: Vec<&str> = VALUES.iter().map(|(_, values)| value(values)).collect();
            format!("({}, {})", from + row, values.join(", "))
        })
        .collect();
    format!(
        "set time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_BACKSLASH_ESCAPES'; insert into t values {};",
        rows.join(", ")
    )
}

/// Rows of the same values in the log and by a query.
#[track_caller]
fn same(log: &Outcome, query: &Outcome) {
    assert_eq!(log.types(), query.types());
    assert_eq!(log.rejected, []);
    let (log, query) = (log.table(), query.table());
    assert_eq!(log.len(), query.len());
    for (log, query) in log.iter().zip(&query) {
        for (at, (log, query)) in log.iter().zip(query).enumerate().skip(1) {
            assert_eq!(log, query, "{}", VALUES[at - 1].0);
        }
        assert_eq!(log, query);
    }
}

fn every_type_is_the_same(setting: &str) {
    let Some(database) = Database::new(&format!(
        "{setting} create table t (id int primary key, {})",
        columns().join(", ")
    )) else {
        return;
    };
    let empty = database.read(followed(None, &[])).unwrap();
    assert_eq!(empty.row_count(), 0);
    database.execute(&format!("{setting} {}", rows(1)));
    let log = database.read(followed(empty.position.clone(), &[])).unwrap();
    let query = database.whole(json!({"query": "select * from t order by id"}));
    same(&log, &query);
    // And as text, where that is declared.
    let text = |at: usize| Field::new(format!("c{at}"), DataType::Utf8, true);
    let is_text = |at: &usize| !query.types()[at + 1].ends_with(" Binary");
    let declared: Vec<Field> = (0..VALUES.len()).filter(is_text).map(text).collect();
    let log = database.read(followed(empty.position, &declared)).unwrap();
    // The first read of the same settings.
    let query = database.read(followed(None, &declared)).unwrap();
    same(&log, &query);
}

#[test]
fn every_type_has_the_values_of_a_query() {
    every_type_is_the_same("");
}

#[test]
fn every_type_has_the_values_of_a_query_in_a_compressed_log_without_checksums() {
    let Some(server) = tidemill_testkit::MariaDbServer::own(
        "--log-bin-compress=1 --log-bin-compress-min-len=10 --binlog-checksum=NONE --binlog-row-metadata=FULL",
    ) else {
        return;
    };
    let database = Database::of(Box::leak(Box::new(server)));
    database.execute(&format!("create table t (id int primary key, {})", columns().join(", ")));
    let empty = database.read(followed(None, &[])).unwrap();
    database.execute(&rows(1));
    database.execute("update t set c0 = 5; delete from t where id = 2");
    let log = database.read(followed(empty.position, &[])).unwrap();
    // Its last word of each row.
    let query = database.whole(json!({"query": "select * from t order by id"}));
    let log = log.table();
    let last = |id: &str| log.iter().rev().find(|row| row[0] == id).unwrap();
    for row in query.table() {
        assert_eq!(*last(&row[0]), row);
    }
}

#[test]
fn what_is_not_read_from_the_log_is_said_and_can_be_left_out() {
    let Some(database) = Database::new(
        "create table t (id int primary key, g varchar(9) character set gbk, z text compressed, \
         v varchar(255) compressed, w varchar(900) compressed, n int); \
         insert into t values (1, 'a', repeat('x', 1000), 'v', 'w', 1)",
    ) else {
        return;
    };
    let first = database.read(followed(None, &[])).unwrap();
    assert_eq!(first.columns(&["id", "g", "v", "n"]), [["1", "a", "v", "1"]]);
    database.execute(
        "insert into t values (2, '中文', repeat('y', 1000), repeat('v', 255), repeat('w', 900), 7), (3, '', '', '', '', 8)",
    );
    let without = |columns: &[&str]| Request {
        settings: json!({"table": "t", "exclude": columns}),
        ..followed(first.position.clone(), &[])
    };
    for (left_out, says) in [(&["z", "v", "w"][..], "`gbk`"), (&["g"], "is compressed")] {
        let error = database.read(without(left_out)).unwrap_err().report();
        assert!(error.contains(says) && error.contains("`exclude`"), "{error}");
    }
    let read = database.read(without(&["g", "z", "v", "w"])).unwrap();
    assert_eq!(read.columns(&["id", "n"]), [["2", "7"], ["3", "8"]]);
}
