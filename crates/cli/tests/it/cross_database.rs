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
