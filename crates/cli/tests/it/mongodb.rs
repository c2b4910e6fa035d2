//! The changes of collections of a MongoDB (a stand-in that speaks its protocol), followed into a lake.

use tidemill_testkit::MongoServer;
use tidemill_testkit::bson::doc;

use crate::sandbox::Sandbox;

/// A project that follows a collection `orders`.
fn project(server: &MongoServer, further: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.write(
        "connections.yml",
        format!(
            "connections:\n  shop:\n    type: mongodb\n    \
             url: mongodb://127.0.0.1:{}/?directConnection=true\n    database: shop\n",
            server.port
        ),
    );
    sandbox.loads(&format!("collection: orders, mode: cdc, primary_key: _id{further}"));
    sandbox
}

fn replica() -> MongoServer {
    let server = MongoServer::start();
    server.set(|state| {
        (state.replica, state.clock) = (true, 1_700_000_000);
        (1..=5).for_each(|id| state.put("orders", doc! {"_id": id, "amount": id * 10}));
    });
    server
}

#[test]
fn a_collection_is_followed() {
    let server = replica();
    let sandbox = project(&server, "");
    sandbox.run(&["ingest"]).ok().says("5 rows").says("is followed by its change stream");
    server.set(|state| {
        state.put("orders", doc! {"_id": 6, "amount": 60.5, "by": {"name": "me"}});
        state.put("orders", doc! {"_id": 1, "amount": 11});
        state.delete("orders", 2);
    });
    sandbox.run(&["ingest"]).ok();
    let all = "select _id, amount, \"by\".name from raw.t order by 1";
    let now = ["1,11.0,", "3,30.0,", "4,40.0,", "5,50.0,", "6,60.5,me"];
    assert_eq!(sandbox.rows(all), now);
    // Nothing is new: nothing is published.
    sandbox.run(&["ingest"]).ok().does_not_say("rows");
    server.set(|state| state.oldest = state.clock + 1);
    sandbox
        .run(&["ingest"])
        .fails_with(1)
        .says("changes of `orders` are lost")
        .says("--full-refresh");
    assert_eq!(sandbox.rows(all), now);
    server.set(|state| state.put("orders", doc! {"_id": 7, "amount": 70}));
    sandbox.run(&["ingest", "--full-refresh"]).ok().says("6 rows");
    server.set(|state| state.delete("orders", 7));
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select count(*) from raw.t"), ["5"]);
}

#[test]
fn each_change_is_kept_in_a_table_of_changes() {
    let server = replica();
    let sandbox = project(&server, ", changes: true");
    sandbox.run(&["ingest"]).ok();
    server.set(|state| {
        state.put("orders", doc! {"_id": 6, "amount": 60});
        state.put("orders", doc! {"_id": 1, "amount": 11});
        state.delete("orders", 6);
    });
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows(
            "select _change, _id, amount, extract(year from _committed_at) from raw.t__changes \
             where _change <> 'snapshot' order by _change_number"
        ),
        ["insert,6,60,2023", "update,1,11,2023", "delete,6,,2023"]
    );
    let sums = "select count(*), sum(amount) from ";
    assert_eq!(sandbox.rows(&format!("{sums} raw.t")), ["5,151"]);
    server.set(|state| {
        state.drop("orders");
        state.put("orders", doc! {"_id": 1, "amount": 1});
    });
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows(&format!("{sums} raw.t__fresh")), ["1,1"]);
    assert_eq!(sandbox.rows(&format!("{sums} raw.t")), ["1,1"]);
}
