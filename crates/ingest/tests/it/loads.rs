//! What a load stages, and what the next one finds.

use arrow::datatypes::{DataType, Field};
use serde_json::json;
use tidemill_core::{ErrorKind, TableStore};
use tidemill_ingest::Merged;

use crate::setup::{Setup, codes};

#[test]
fn files_are_appended_once() {
    let setup = Setup::new(&[("1.csv", "id,v\n1,a\n")]);
    let settings = json!({"location": "*.csv"});
    let loaded = setup.load(settings.clone()).unwrap();
    assert_eq!((loaded.rows, loaded.staged.len(), loaded.nothing_new), (1, 1, false));
    setup.write("2.csv", "id,v\n2,b\n");
    setup.load(settings.clone()).unwrap();
    assert_eq!(setup.table(), [["1", "a"], ["2", "b"]]);
    let loaded = setup.load(settings).unwrap();
    assert!(loaded.nothing_new && loaded.staged.is_empty() && loaded.position.is_none());
    assert_eq!(setup.table().len(), 2);
}

#[test]
fn what_is_not_published_comes_again() {
    let setup = Setup::new(&[("1.csv", "id\n1\n")]);
    let spec = setup.spec(&json!({"location": "*.csv"})).unwrap();
    let loaded = setup.stage(&spec).unwrap();
    assert_eq!(loaded.rows, 1);
    drop(loaded);
    setup.load_spec(&spec).unwrap();
    assert_eq!(setup.table(), [["1"]]);
}

#[test]
fn a_restart_stages_again() {
    let mut text = String::from("id\n");
    for id in 0..200 {
        text.push_str(&format!("{id}\n"));
    }
    text.push_str("0x\n");
    let setup = Setup::new(&[("1.csv", &text)]);
    let loaded = setup.load(json!({"location": "1.csv", "sample_bytes": 10})).unwrap();
    assert_eq!(loaded.rows, 201);
    assert_eq!(setup.columns(), ["id Utf8"]);
    assert_eq!(setup.table().len(), 201);
    assert_eq!(loaded.staged.len(), 1);
}

#[test]
fn a_table_widens() {
    let setup = Setup::new(&[("1.csv", "id,v\n1,a\n")]);
    let settings = json!({"location": "*.csv"});
    setup.load(settings.clone()).unwrap();
    setup.write("2.csv", "id,w\n2.5,true\n");
    let loaded = setup.load(settings).unwrap();
    assert_eq!(setup.columns(), ["id Float64", "v Utf8", "w Boolean"]);
    assert_eq!(setup.table(), [["1.0", "a", "∅"], ["2.5", "∅", "true"]]);
    assert_eq!(codes(&loaded), ["missing-column", "widened-column", "new-column"]);
}

#[test]
fn contracts() {
    for (contract, new_column, misfit) in [
        ("freeze", Err("`w`"), "`id` is text now, and bigint in the table"),
        ("discard", Ok(vec![vec!["1", "a"], vec!["2", "b"]]), "`x` is not a bigint"),
    ] {
        let settings = json!({"location": "*.csv", "schema_contract": contract});
        let setup = Setup::new(&[("1.csv", "id,v\n1,a\n")]);
        setup.load(settings.clone()).unwrap();
        setup.write("2.csv", "id,v,w\n2,b,3\n");
        match (setup.load(settings.clone()), new_column) {
            (Err(error), Err(part)) => {
                assert_eq!(error.kind(), ErrorKind::Data);
                assert!(error.message().contains(part), "{error}");
            }
            (Ok(loaded), Ok(table)) => {
                assert_eq!(codes(&loaded), ["dropped-column"]);
                assert_eq!(setup.table(), table);
            }
            (result, _) => panic!("{contract}: {result:?}"),
        }
        let setup = Setup::new(&[("1.csv", "id,v\n1,a\n")]);
        setup.load(settings.clone()).unwrap();
        setup.write("2.csv", "id,v\nx,b\n");
        let error = setup.load(settings).unwrap_err();
        assert!(error.message().contains(misfit), "{error}");
    }
}

#[test]
fn contracts_of_columns_and_types_apart() {
    let load = |contract: serde_json::Value, mode: &str, second: &str| {
        let setup = Setup::new(&[("1.csv", "id,v\n1,a\n")]);
        let settings = json!({
            "location": "*.csv", "mode": mode, "schema_contract": contract, "max_rejects": 1,
        });
        setup.load(settings.clone()).unwrap();
        let before = setup.table();
        setup.write("2.csv", second);
        let error = setup.load(settings).err().map(|error| error.message().to_owned());
        if error.is_some() {
            assert_eq!(setup.table(), before, "nothing is written");
        }
        (setup.columns(), setup.table().len(), error)
    };
    let (more, text) = ("id,v,w\n2,b,3\n", "id,v\n2,b\nx,c\n");
    let types = json!({"types": "freeze"});
    assert_eq!(load(types.clone(), "append", more).0, ["id Int64", "v Utf8", "w Int64"]);
    let error = load(types, "append", text).2.unwrap();
    assert!(error.contains("`id` is text now") && error.contains("{types: evolve}"), "{error}");
    let columns = json!({"columns": "freeze"});
    assert_eq!(load(columns.clone(), "append", text).0, ["id Utf8", "v Utf8"]);
    let error = load(columns.clone(), "append", more).2.unwrap();
    assert!(error.contains("new column `w`") && error.contains("{columns: evolve}"), "{error}");
    // What does not fit is a rejected row.
    let discard = json!({"columns": "freeze", "types": "discard"});
    let (found, rows, error) = load(discard, "append", text);
    assert_eq!((found, rows, error), (vec!["id Int64".to_owned(), "v Utf8".to_owned()], 2, None));
    // A table that is replaced keeps its columns as well.
    assert!(load(columns, "full", more).2.unwrap().contains("`w`"));
    assert_eq!(load(json!("discard"), "full", more).0, ["id Int64", "v Utf8"]);
    assert_eq!(load(json!("evolve"), "full", more).0, ["id Int64", "v Utf8", "w Int64"]);
}

#[test]
fn rejected_rows_fail_the_load() {
    let setup = Setup::new(&[("1.csv", "a,b\n1,2\n3\n4,5,6\n")]);
    let error = setup.load(json!({"location": "1.csv"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    for part in ["1.csv:3: 1 field ", "1.csv:4: 3 fields", "max_rejects", "raw.t"] {
        assert!(error.message().contains(part), "{error}");
    }
    let (begun, discarded) = setup.store.stages();
    assert_eq!(begun, discarded, "nothing is left behind");
    assert!(setup.table().is_empty());
}

#[test]
fn rejected_rows_are_kept() {
    for limit in [json!(2), json!("70%")] {
        let setup = Setup::new(&[("1.csv", "a,b\n1,2\n3\n4,5,6\n")]);
        let loaded = setup.load(json!({"location": "1.csv", "max_rejects": limit})).unwrap();
        assert_eq!((loaded.rows, loaded.rejected), (1, 2));
        assert_eq!(codes(&loaded), ["rejected-rows"]);
        assert_eq!(
            setup.rejected(),
            [
                ["1.csv", "3", "1 field where the header has 2", "3", "run-1"],
                ["1.csv", "4", "3 fields where the header has 2", "4,5,6", "run-1"]
            ]
        );
    }
    let setup = Setup::new(&[("1.csv", "a,b\n1,2\n3\n4,5,6\n")]);
    assert!(setup.load(json!({"location": "1.csv", "max_rejects": "50%"})).is_err());
    assert!(setup.load(json!({"location": "1.csv", "max_rejects": 1})).is_err());
}

#[test]
fn a_mended_file_takes_its_rejects_back() {
    let settings = json!({"location": "*.csv", "max_rejects": 9, "on_change": "reload"});
    let setup = Setup::new(&[("1.csv", "a,b\n1,2\n3\n"), ("2.csv", "a,b\n5\n7,8\n")]);
    setup.load(settings.clone()).unwrap();
    assert_eq!(setup.rejected().len(), 2);
    setup.write("1.csv", "a,b\n1,2\n3,4\n");
    let loaded = setup.load(settings).unwrap();
    assert_eq!(codes(&loaded), ["changed-file"]);
    assert_eq!(setup.table(), [["7", "8"], ["1", "2"], ["3", "4"]]);
    assert_eq!(setup.rejected().len(), 1);
    assert_eq!(setup.rejected()[0][0], "2.csv");
}

#[test]
fn the_whole_set_replaces() {
    let settings = json!({"location": "*.csv", "mode": "full", "max_rejects": 9});
    let setup = Setup::new(&[("1.csv", "a,b\n1,x\n"), ("2.csv", "a,b\nz\n2,y\n")]);
    setup.load(settings.clone()).unwrap();
    assert_eq!((setup.table().len(), setup.rejected().len()), (2, 1));
    assert!(setup.load(settings.clone()).unwrap().nothing_new);
    setup.write("2.csv", "a\n3\n");
    setup.load(settings.clone()).unwrap();
    assert_eq!(setup.table(), [["1", "x"], ["3", "∅"]]);
    assert!(setup.rejected().is_empty());
    std::fs::remove_file(setup.path().join("1.csv")).unwrap();
    setup.load(settings).unwrap();
    assert_eq!(setup.columns(), ["a Int64"]);
}

#[test]
fn a_merge_keeps_the_newest() {
    let settings = json!({
        "location": "*.csv", "mode": "merge", "primary_key": ["id"], "cursor": "at",
        "max_rejects": 1,
    });
    let setup = Setup::new(&[("1.csv", "id,v,at\n1,a,1\n2,b,1\n1,c,3\n1,d,2\n,e,1\n")]);
    let loaded = setup.load(settings.clone()).unwrap();
    assert_eq!(loaded.rejected, 1);
    assert_eq!(setup.rejected()[0][..3], ["1.csv", "6", "NULL in the key column `id`"]);
    let mut table = setup.table();
    table.sort();
    assert_eq!(table, [["1", "c", "3"], ["2", "b", "1"]]);
    setup.write("2.csv", "id,v,at\n2,z,9\n3,n,1\n");
    setup.load(settings).unwrap();
    let mut table = setup.table();
    table.sort();
    assert_eq!(table, [["1", "c", "3"], ["2", "z", "9"], ["3", "n", "1"]]);
}

#[test]
fn a_full_refresh_reads_everything_again() {
    let setup = Setup::new(&[("1.csv", "id\n1\n")]);
    let settings = json!({"location": "*.csv"});
    setup.load(settings.clone()).unwrap();
    setup.write("1.csv", "id\nx\n");
    let mut spec = setup.spec(&settings).unwrap();
    spec.full_refresh = true;
    setup.load_spec(&spec).unwrap();
    assert_eq!(setup.table(), [["x"]]);
    assert!(setup.load(settings).unwrap().nothing_new);
}

#[test]
fn files_without_rows() {
    let setup = Setup::new(&[("1.csv", "id,v\n"), ("2.csv", "")]);
    let settings = json!({"location": "*.csv"});
    let loaded = setup.load(settings.clone()).unwrap();
    assert_eq!(loaded.staged.len(), 1, "the table is there, with its columns");
    assert_eq!(setup.columns(), ["id Utf8", "v Utf8"]);
    setup.write("3.csv", "");
    let loaded = setup.load(settings.clone()).unwrap();
    assert!(loaded.nothing_new && loaded.position.is_some());
    let loaded = setup.load(settings).unwrap();
    assert!(loaded.nothing_new && loaded.position.is_none());
    let nothing = Setup::new(&[("1.csv", "")]);
    let loaded = nothing.load(json!({"location": "*.csv"})).unwrap();
    assert!(loaded.nothing_new && loaded.position.is_none());
    assert_eq!(codes(&loaded), ["empty-file", "no-table"]);
    setup.write("4.csv", "id,v\n4,x\n");
    setup.load(json!({"location": "*.csv"})).unwrap();
    assert_eq!(setup.columns(), ["id Int64", "v Utf8"], "a column without values has an open type");
}

#[test]
fn declared_types_hold() {
    let mut setup = Setup::new(&[("1.csv", "id,price\n007,1.50\n")]);
    setup.declared = vec![Field::new("price", DataType::Decimal128(9, 2), true)];
    setup.load(json!({"location": "*.csv"})).unwrap();
    assert_eq!(setup.columns(), ["id Utf8", "price Decimal128(9, 2)"]);
    setup.write("2.csv", "id,price\n008,2\n");
    setup.load(json!({"location": "*.csv"})).unwrap();
    assert_eq!(setup.table(), [["007", "1.50"], ["008", "2.00"]]);
}

#[test]
fn a_cancelled_load_leaves_nothing() {
    let setup = Setup::new(&[("1.csv", "id\n1\n")]);
    let spec = setup.spec(&json!({"location": "*.csv"})).unwrap();
    spec.cancel.cancel();
    assert_eq!(setup.stage(&spec).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(setup.store.stages().0, setup.store.stages().1);
}

#[test]
fn somebody_else_was_first() {
    let setup = Setup::new(&[("1.csv", "id\n1\n")]);
    let spec = setup.spec(&json!({"location": "*.csv"})).unwrap();
    setup.load_spec(&spec).unwrap();
    assert_eq!(setup.load_spec(&spec).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(setup.table(), [["1"]]);
    let _: &dyn TableStore = &setup.store;
}

#[test]
fn a_column_that_becomes_text_has_what_stood_in_the_files() {
    let settings = json!({"location": "*.csv", "max_rejects": 9});
    let setup = Setup::new(&[("1.csv", "id,v\n1,a\n2\n")]);
    setup.load(settings.clone()).unwrap();
    setup.write("2.csv", "id,v\n1.50,b\n");
    setup.load(settings.clone()).unwrap();
    assert_eq!(setup.table(), [["1.0", "a"], ["1.5", "b"]]);
    setup.write("3.csv", "id,v\nx,c\n");
    let loaded = setup.load(settings.clone()).unwrap();
    assert_eq!(setup.columns(), ["id Utf8", "v Utf8"]);
    assert_eq!(setup.table(), [["1", "a"], ["1.50", "b"], ["x", "c"]]);
    assert_eq!(setup.rejected().len(), 1, "rejected rows of a file come again as well, once");
    assert_eq!(codes(&loaded), ["read-again", "widened-column", "rejected-rows"]);
    assert!(setup.load(settings).unwrap().nothing_new);
}

#[test]
fn a_merge_counts_what_it_inserted_and_updated() {
    let settings = json!({"location": "*.csv", "mode": "merge", "primary_key": "id"});
    let setup = Setup::new(&[("1.csv", "id,v\n1,a\n2,b\n")]);
    assert_eq!(setup.load(settings.clone()).unwrap().merged, None);
    setup.write("2.csv", "id,v\n2,c\n3,d\n3,e\n");
    let loaded = setup.load(settings).unwrap();
    assert_eq!(loaded.merged, Some(Merged { inserted: 1, updated: 1, deleted: 0 }));
}
