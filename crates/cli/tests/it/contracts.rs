//! Enforced contracts: names, types, order, constraints.

use crate::sandbox::Sandbox;

fn project(model: &str, yaml: &str) -> Sandbox {
    Sandbox::new(&[
        ("seeds/s.csv", "id,name,parent\n1,a,\n2,b,1\n"),
        ("models/m.sql", model),
        ("models/m.yml", yaml),
        ("models/after.sql", "select * from {{ ref('m') }}"),
    ])
}

fn contract(materialized: &str, columns: &str, constraints: &str) -> String {
    // dbt asks for it with a contract.
    let materialized = match materialized {
        "incremental" => "incremental, on_schema_change: fail",
        other => other,
    };
    format!(
        "models:\n  - name: m\n    config: {{materialized: {materialized}, contract: {{enforced: true}}}}\n    columns: {columns}\n    constraints: {constraints}\n"
    )
}

const COLUMNS: &str = "[{name: name, data_type: varchar}, {name: id, data_type: int}, {name: parent, data_type: bigint}]";

#[test]
fn columns_have_the_order_and_types_of_the_contract() {
    for materialized in ["table", "incremental"] {
        let sandbox = project(
            "select id, name, parent from {{ ref('s') }}",
            &contract(materialized, COLUMNS, "[]"),
        );
        sandbox.build().ok();
        let columns = "select column_name || ' ' || data_type from information_schema.columns where table_name = 'm' order by ordinal_position";
        assert_eq!(sandbox.rows(columns), ["name text", "id integer", "parent bigint"]);
        sandbox.build().ok().says("nothing to do");
    }
}

#[test]
fn what_differs_from_the_contract_is_shown_as_a_table() {
    let sandbox = project(
        "select id, name || '!' as name, 1.5 as extra from {{ ref('s') }}",
        &contract("table", COLUMNS, "[]").replace("varchar", "date"),
    );
    sandbox
        .build()
        .fails_with(1)
        .says("This model has an enforced contract that failed.")
        .says("| column_name | definition_type | contract_type | mismatch_reason       |")
        .says("| extra       | numeric")
        .says("| name        | text            | date          | data type mismatch    |")
        .says("| parent      |                 | bigint        | missing in definition |");
    assert_eq!(sandbox.rows("select id from s order by id"), ["1", "2"]);
    // What cannot be a contract is told before anything runs.
    sandbox.write("models/m.yml", contract("table", "[{name: id}]", "[]"));
    sandbox.build().fails_with(2).says("the `data_type` of the column `id`");
}

#[test]
fn rows_that_break_a_constraint_are_not_published() {
    let cases = [
        ("{type: not_null, columns: [parent]}", "not_null (parent): 1 row", "parent=NULL"),
        (
            "{type: unique, name: one_each, columns: [kind]}",
            "unique one_each (kind): 1 value more than once",
            "kind=x rows=2",
        ),
        ("{type: primary_key, columns: [id, kind]}", "", ""),
        (
            "{type: primary_key, columns: [parent]}",
            "primary_key (parent is NULL): 1 row",
            "parent=NULL",
        ),
        ("{type: check, name: small, expression: 'id < 2'}", "check small (id < 2): 1 row", "id=2"),
        ("{type: check, expression: 'parent > 0'}", "", ""),
        ("{type: foreign_key, columns: [parent], to: ref('s'), to_columns: [id]}", "", ""),
        (
            "{type: foreign_key, columns: [id], to: ref('s'), to_columns: [parent]}",
            "foreign_key (id in ",
            "id=2",
        ),
        ("{type: foreign_key, columns: [id], expression: 'main.s (id)'}", "", ""),
        ("{type: custom, expression: 'anything', warn_unsupported: false}", "", ""),
    ];
    let columns = "[{name: id, data_type: bigint}, {name: parent, data_type: bigint}, {name: kind, data_type: text}]";
    let model = "select id, parent, 'x' as kind from {{ ref('s') }}";
    for (constraint, message, row) in cases {
        let sandbox = project(model, &contract("table", columns, &format!("[{constraint}]")));
        if message.is_empty() {
            sandbox.build().ok().does_not_say("warning");
            continue;
        }
        sandbox
            .build()
            .fails_with(1)
            .says("the rows break constraints of the contract")
            .says(message)
            .says(row)
            .says("after");
        assert_eq!(
            sandbox.value("select count(*) from information_schema.tables where table_name = 'm'"),
            "0",
            "{constraint}"
        );
    }
}

#[test]
fn an_incremental_model_says_what_a_new_column_does() {
    let yaml = contract("incremental", COLUMNS, "[]").replace(", on_schema_change: fail", "");
    project("select 1 as id", &yaml)
        .run(&["parse"])
        .fails_with(2)
        .says("an incremental model with a contract needs `on_schema_change`");
}

#[test]
fn a_good_version_stays_when_an_increment_breaks_the_contract() {
    let columns = "[{name: id, data_type: int, constraints: [{type: not_null}, {type: unique}]}]";
    let sandbox = project("select id from {{ ref('s') }}", &contract("incremental", columns, "[]"));
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,name,parent\n3,c,1\n");
    sandbox.build().ok();
    // The rows that are there count as well.
    sandbox.write("seeds/s.csv", "id,name,parent\n1,c,1\n4,d,1\n");
    sandbox.build().fails_with(1).says("unique (id): 1 value more than once").says("id=1 rows=2");
    assert_eq!(sandbox.rows("select id from m order by id"), ["1", "2", "3"]);
}

#[test]
fn a_view_keeps_its_types_and_says_that_constraints_do_not_hold() {
    let sandbox = project(
        "select name, parent, id from {{ ref('s') }}",
        &contract("view", COLUMNS, "[{type: not_null, columns: [parent]}]"),
    );
    sandbox.build().ok().says("a view has no rows of its own, so its constraints are not enforced");
    assert_eq!(
        sandbox.rows("select data_type from information_schema.columns where table_name = 'm' order by column_name"),
        ["integer", "text", "bigint"]
    );
    let sandbox = project(
        "select name, parent, id from {{ ref('s') }}",
        &contract(
            "view",
            COLUMNS,
            "[{type: not_null, columns: [parent], warn_unsupported: false}]",
        ),
    );
    sandbox.build().ok().does_not_say("constraints");
}
