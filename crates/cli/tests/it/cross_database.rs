//! Every macro that dbt 1.12 has for all databases, in each form of its arguments.
//!
//! The rows in `data/cross_database/expected.txt` are those that dbt-core 1.12.6 makes of the same
//! project on PostgreSQL; it cannot add a quarter there, and those columns are as on DuckDB.

use crate::sandbox::Sandbox;

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../data/cross_database/", $name))
    };
}

const MODELS: [(&str, &str); 7] = [
    ("arrays", file!("arrays.sql")),
    ("dates", file!("dates.sql")),
    ("groups", file!("groups.sql")),
    ("helpers", file!("helpers.sql")),
    ("series", file!("series.sql")),
    ("sets", file!("sets.sql")),
    ("words", file!("words.sql")),
];

#[test]
fn cross_database_macros_give_the_rows_of_dbt() {
    let shop = Sandbox::new(&[("seeds/texts.csv", file!("texts.csv"))]);
    for (name, text) in MODELS {
        shop.write(&format!("models/{name}.sql"), text);
    }
    shop.build().ok();
    let mut found = String::new();
    for (name, _) in MODELS {
        found.push_str(&format!("-- {name}\n"));
        let columns = shop.rows(&format!(
            "select column_name from information_schema.columns where table_name = '{name}' order by ordinal_position"
        ));
        let order: Vec<String> = (1..=columns.len()).map(|place| place.to_string()).collect();
        for row in shop.rows(&format!("select * from {name} order by {}", order.join(", "))) {
            found.push_str(&row);
            found.push('\n');
        }
    }
    // Written anew when the project changes, and then held against dbt's.
    if std::env::var_os("TIDEMILL_WRITE_EXPECTED").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cross_database/expected.txt");
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(found, file!("expected.txt"));
}

#[test]
fn flags_of_dbts_behaviour_are_asked() {
    let model = "select {{ dbt.equals('null', 'null') }} as same";
    for (flag, expected) in [("false", "-"), ("true", "true")] {
        let shop = Sandbox::new(&[
            (
                "dbt_project.yml",
                &format!(
                    "name: shop\nversion: '1.0'\nflags: {{enable_truthy_nulls_equals_macro: {flag}}}\n"
                ),
            ),
            ("models/m.sql", model),
        ]);
        shop.build().ok();
        assert_eq!(shop.rows("select coalesce(same::text, '-') as same from m"), [expected]);
    }
}

#[test]
fn spans_are_doubles_where_postgresql_has_doubles() {
    let parts = ["year", "month", "hour", "minute", "day", "week"];
    let spans: Vec<String> = parts
        .iter()
        .map(|part| format!("{{{{ dbt.datediff('a', 'b', '{part}') }}}} / 8 as {part}s"))
        .collect();
    let shop = Sandbox::new(&[
        (
            "profiles.yml",
            "shop: {target: dev, outputs: {dev: {type: postgres, host: localhost, port: 1, user: u, \
             password: p, dbname: d, schema: main}}}\n",
        ),
        (
            "models/m.sql",
            &format!(
                "select {} from (select timestamp '2020-01-01 10:00:00' as a, timestamp '2021-03-05 12:00:00' as b) s",
                spans.join(", ")
            ),
        ),
    ]);
    let settings = "name: shop\nversion: '1.0'\nprofile: shop\n";
    shop.write("dbt_project.yml", settings);
    shop.run(&["build", "--target-lake=lake"]).ok();
    let query = "select * from m";
    let found = shop.run(&["sql", query, "--target-lake=lake", "--format", "csv", "--quiet"]).ok();
    assert_eq!(found.stdout.lines().nth(1), Some("0.125,1.75,1287.25,77235.0,53,7"));
}
