//! The log of changes of collections of a server that speaks MongoDB's protocol.

use arrow::compute::concat_batches;
use futures::StreamExt;
use mongodb::bson::doc;
use serde_json::{Value, json};
use tidemill_core::{Change, Position, ReadRequest, ReadScope, Result, changes};
use tidemill_testkit::MongoServer;

use crate::mongo::{read, source};
use crate::reading::{Outcome, Request, drain_and};

fn replica() -> MongoServer {
    let server = MongoServer::start();
    server.set(|state| (state.replica, state.clock) = (true, 1_700_000_000));
    server
}

fn followed(settings: Value, position: Option<Position>) -> Request {
    let mut settings = settings;
    settings["collection"] = json!("o");
    Request {
        primary_key: vec!["_id".to_owned()],
        position,
        ..Request::of(settings, ReadScope::Log)
    }
}

/// The load behind another one, with what is said of its rows.
fn follow(server: &MongoServer, before: &Outcome) -> Result<Outcome> {
    let request = followed(json!({}), before.position.clone());
    let request = Request { known: before.schema.clone(), ..request };
    let mut batches = Vec::new();
    let outcome = drain_and(source(server).as_ref(), request, |change| match change {
        Change::Rows(batch) => batches.push(batch.clone()),
        Change::Truncated | Change::Restart(_) => batches.clear(),
        _ => {}
    })?;
    let rows = batches.first().map(|first| concat_batches(first.schema_ref(), &batches).unwrap());
    Ok(Outcome { rows: rows.or(outcome.rows.clone()), ..outcome })
}

fn first(server: &MongoServer) -> Outcome {
    read(server, followed(json!({}), None)).unwrap()
}

fn report(outcome: Result<Outcome>) -> String {
    outcome.unwrap_err().report()
}

#[test]
fn changes_come_in_their_order_behind_the_documents() {
    let server = replica();
    server.set(|state| {
        state.put("o", doc! {"_id": 1, "name": "a"});
        state.put("o", doc! {"_id": 2, "name": "b"});
        state.put("other", doc! {"_id": 9});
    });
    let whole = first(&server);
    assert_eq!(whole.columns(&["_id", "name"]), [["1", "a"], ["2", "b"]]);
    assert_eq!(whole.codes(), ["followed-log"]);
    assert!(whole.rows.as_ref().unwrap().column_by_name(changes::GONE).is_none());
    server.set(|state| {
        state.put("other", doc! {"_id": 10});
        state.put("o", doc! {"_id": 3, "name": "c"});
        state.put("o", doc! {"_id": 1, "name": "A", "more": 5});
        state.delete("o", 2);
        state.put("o", doc! {"_id": 2, "name": "again"});
        state.put("o", doc! {"_id": 4, "name": "short"});
        state.put("o", doc! {"_id": 4, "name": "lived"});
        state.delete("o", 4);
    });
    let second = follow(&server, &whole).unwrap();
    // The update of a document that is gone by now has nothing to say; its end follows.
    assert_eq!(
        second.columns(&["_id", "name", "more", changes::GONE]),
        [
            ["3", "c", "∅", "false"],
            ["1", "A", "5", "false"],
            ["2", "∅", "∅", "true"],
            ["2", "again", "∅", "false"],
            ["4", "short", "∅", "false"],
            ["4", "∅", "∅", "true"],
        ]
    );
    let types = second.types();
    assert_eq!(types, ["_id Int64", "name Utf8", "more Int64"]);
    let third = follow(&server, &second).unwrap();
    assert_eq!((third.row_count(), &third.position), (0, &second.position));
    // A text where numbers were: the column is widened, and the changes come again.
    server.set(|state| state.put("o", doc! {"_id": 5, "more": "x"}));
    let fourth = follow(&server, &Outcome { schema: second.schema, ..third }).unwrap();
    assert_eq!(fourth.columns(&["_id", "more", changes::GONE]), [["5", "x", "false"]]);
}

#[test]
fn every_change_says_what_it_is_and_when() {
    let server = replica();
    server.set(|state| state.put("o", doc! {"_id": 1}));
    let whole = first(&server);
    server.set(|state| {
        state.put("o", doc! {"_id": 2});
        state.put("o", doc! {"_id": 1});
        state.delete("o", 2);
    });
    let request = followed(json!({}), whole.position);
    let request = ReadRequest { every_change: true, ..request.request() };
    let source = source(&server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let mut read = source.read(request).await.unwrap();
        let mut rows = None;
        while let Some(change) = read.next().await {
            if let Change::Rows(batch) = change.unwrap() {
                assert!(rows.replace(batch).is_none());
            }
        }
        rows
    });
    let outcome = Outcome { rows, ..Outcome::default() };
    assert_eq!(
        outcome.columns(&["_id", changes::GONE, changes::KIND, changes::AT]),
        [
            ["2", "false", "0", "2023-11-14T22:13:22.005Z"],
            ["1", "false", "1", "2023-11-14T22:13:23.005Z"],
            ["2", "true", "2", "2023-11-14T22:13:24.005Z"],
        ]
    );
}

#[test]
fn what_happens_while_the_load_runs_is_for_the_next_one() {
    let server = replica();
    server.insert("o", vec![doc! {"_id": 1}]);
    // Between the place in the log and the documents: it is in both, which does no harm.
    server.set(|state| state.meanwhile = Some(doc! {"_id": 2}));
    let whole = first(&server);
    assert_eq!(whole.columns(&["_id"]), [["1"], ["2"]]);
    let second = follow(&server, &whole).unwrap();
    assert_eq!(second.columns(&["_id", changes::GONE]), [["2", "false"]]);
    server.set(|state| {
        state.put("o", doc! {"_id": 3});
        state.meanwhile = Some(doc! {"_id": 4});
    });
    let third = follow(&server, &second).unwrap();
    assert_eq!(third.columns(&["_id"]), [["3"]]);
    let fourth = follow(&server, &third).unwrap();
    assert_eq!(fourth.columns(&["_id"]), [["4"]]);
}

#[test]
fn a_connection_that_is_cut_costs_nothing() {
    let server = replica();
    server.insert("o", vec![doc! {"_id": 0}]);
    let whole = first(&server);
    server.set(|state| {
        (1..8).for_each(|id| state.put("o", doc! {"_id": id}));
        state.cuts = 1;
    });
    let second = follow(&server, &whole).unwrap();
    let ids: Vec<String> = (1..8).map(|id| id.to_string()).collect();
    assert_eq!(second.columns(&["_id"]).concat(), ids);
    assert_eq!(server.state.lock().unwrap().cuts, 0);
}

#[test]
fn a_position_without_changes_moves_on_after_a_while() {
    let server = replica();
    server.insert("o", vec![doc! {"_id": 0}]);
    let whole = first(&server);
    server.set(|state| state.clock += 30);
    let second = follow(&server, &whole).unwrap();
    assert_eq!(second.position, whole.position);
    server.set(|state| state.clock += 40);
    let third = follow(&server, &second).unwrap();
    assert_ne!(third.position, whole.position);
    // What the log forgot behind it is not missed.
    server.set(|state| {
        state.oldest = state.clock;
        state.put("o", doc! {"_id": 1});
    });
    assert_eq!(follow(&server, &third).unwrap().columns(&["_id"]), [["1"]]);
}

#[test]
fn changes_that_are_lost_are_an_error_or_everything_is_read_again() {
    let server = replica();
    server.insert("o", vec![doc! {"_id": 0}]);
    let whole = first(&server);
    server.set(|state| {
        state.put("o", doc! {"_id": 1});
        state.oldest = state.clock;
    });
    let said = report(follow(&server, &whole));
    assert!(said.contains("changes of `o` are lost") && said.contains("--full-refresh"), "{said}");
    let again = followed(json!({"on_slot_loss": "snapshot"}), whole.position.clone());
    let again = read(&server, again).unwrap();
    assert!(again.truncated);
    assert_eq!(
        (again.columns(&["_id"]), again.codes()),
        (vec![vec!["0".to_owned()], vec!["1".to_owned()]], vec!["read-again"])
    );
    server.set(|state| state.rename("o"));
    let said = report(follow(&server, &again));
    assert!(said.contains("was renamed"), "{said}");
}

#[test]
fn a_collection_that_was_made_again_is_another_one() {
    let server = replica();
    server.insert("o", vec![doc! {"_id": 0, "a": 1}]);
    let whole = first(&server);
    server.set(|state| {
        state.put("o", doc! {"_id": 1, "a": 1});
        state.drop("o");
    });
    let said = report(follow(&server, &whole));
    assert!(said.contains("no such collection") && said.contains("dropped"), "{said}");
    server.set(|state| {
        state.put("o", doc! {"_id": 2, "a": 2});
        state.drop("o");
        state.put("o", doc! {"_id": 3, "a": 3});
    });
    let again = follow(&server, &whole).unwrap();
    assert!(again.truncated);
    assert_eq!(again.columns(&["_id", "a", changes::GONE]), [["3", "3", "false"]]);
    let nothing = follow(&server, &again).unwrap();
    assert_eq!((nothing.row_count(), nothing.truncated), (0, false));
}

#[test]
fn fields_are_chosen_and_settings_that_do_not_fit_are_refused() {
    let server = replica();
    server.insert("o", vec![doc! {"_id": 0, "a": 1, "b": 1}]);
    for (projection, columns) in
        [(json!({"a": 1}), vec!["_id", "a"]), (json!({"b": 0}), vec!["_id", "a"])]
    {
        let settings = json!({"projection": projection});
        let whole = read(&server, followed(settings.clone(), None)).unwrap();
        server.set(|state| state.put("o", doc! {"_id": 0, "a": 2, "b": 2}));
        let second = read(&server, followed(settings, whole.position)).unwrap();
        assert_eq!(second.columns(&columns), [["0", "2"]]);
        assert!(second.schema.unwrap().field_with_name("b").is_err());
    }
    for (settings, key, said) in [
        (json!({"filter": {"a": 1}}), "_id", "`filter`"),
        (json!({"expand": "a"}), "_id", "`expand`"),
        (json!({"projection": {"a": 1, "_id": 0}}), "_id", "`projection`"),
        (json!({}), "a", "`primary_key: [_id]`"),
    ] {
        let request = Request { primary_key: vec![key.to_owned()], ..followed(settings, None) };
        let report = report(read(&server, request));
        assert!(report.contains(said), "{report}");
    }
    server.set(|state| state.replica = false);
    let said = report(read(&server, followed(json!({}), None)));
    assert!(said.contains("need a replica set"), "{said}");
    let merged = Request { scope: ReadScope::Changed, ..followed(json!({}), None) };
    let merged = read(&server, merged).unwrap();
    server.set(|state| state.replica = true);
    let said = report(read(&server, followed(json!({}), merged.position)));
    assert!(said.contains("did not follow the log"), "{said}");
}
