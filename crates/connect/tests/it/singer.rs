//! What a read of a Singer tap delivers. The tap is a script; the published taps are tried by
//! `scripts/singer-taps`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_core::{ConnectContext, ErrorKind, ReadScope, Result, Source};

use crate::reading::{Outcome, Request, drain};

/// A tap of orders 1 to `rows`, incremental by id, and of notes, which knows no state. It writes down
/// what it was started with.
const TAP: &str = r#"
while [ $# -gt 0 ]; do
  case "$1" in
    --config) config=$2; shift;; --catalog) catalog=$2; shift;; --state) state=$2; shift;;
    --discover) discover=1;;
  esac
  shift
done
cat "$config" > seen-config.json
echo "reading $REGION" >&2
if [ -n "$discover" ]; then
  cat <<'EOF'
{"streams": [
  {"tap_stream_id": "orders", "stream": "orders", "key_properties": ["orderId"], "schema": {"properties": {
    "amount": {"type": ["null", "number"], "multipleOf": 0.01}, "orderId": {"type": "integer"},
    "at": {"type": ["string", "null"], "format": "date-time"}, "lines": {"type": "array"},
    "secret": {"type": "string"}}}},
  {"tap_stream_id": "notes", "stream": "notes", "schema": {"properties": {"text": {"type": "string"}}}}]}
EOF
  exit
fi
cat "$catalog" > seen-catalog.json
last=0
[ -n "$state" ] && last=$(sed 's/.*"id":\([0-9]*\).*/\1/' "$state")
if grep -q '"tap_stream_id":"notes","stream":"notes","schema":{[^}]*}},"selected":true\|"notes".*"selected":true' "$catalog" && [ "$(cat which)" = notes ]; then
  echo '{"type": "SCHEMA", "stream": "notes", "key_properties": [], "schema": {"properties": {"text": {"type": "string"}}}}'
  echo '{"type": "RECORD", "stream": "notes", "record": {"text": "hello"}}'
  exit
fi
echo '{"type": "SCHEMA", "stream": "orders", "key_properties": ["orderId"], "schema": {"properties": {"amount": {"type": ["null", "number"], "multipleOf": 0.01}, "orderId": {"type": "integer"}, "at": {"type": ["string", "null"], "format": "date-time"}, "lines": {"type": "array"}, "secret": {"type": "string"}}}}'
rows=$(cat rows)
for id in $(seq $((last + 1)) "$rows"); do
  echo '{"type": "RECORD", "stream": "orders", "record": {"orderId": '$id', "amount": '$id'.25, "at": "2024-01-01T10:00:00+02:00", "lines": [{"sku": "a"}], "secret": "s"}}'
done
[ -f extra ] && cat extra
echo '{"type": "STATE", "value": {"bookmarks": {"orders": {"id":'$rows'}}}}'
[ -f fail ] && { echo "boom: the system is down" >&2; exit 3; }
exit 0
"#;

struct Tap {
    folder: tempfile::TempDir,
}

impl Tap {
    fn new(rows: u32) -> Self {
        let tap = Tap { folder: tempfile::tempdir().unwrap() };
        tap.write("tap.sh", TAP);
        tap.write("which", "orders");
        tap.write("rows", &rows.to_string());
        tap
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn seen(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn source(&self) -> std::sync::Arc<dyn Source> {
        let settings = json!({
            "command": "sh tap.sh", "env": {"REGION": "eu"},
            "config": {"start": "2024-01-01", "api_key": {"command": "echo planted-key"}},
        });
        let context =
            ConnectContext { project: self.folder.path().into(), name: "shop".to_owned() };
        let settings = settings.as_object().cloned().unwrap();
        tidemill_connect::kind("singer").unwrap().connect(settings, context).unwrap()
    }

    fn read(&self, request: Request) -> Result<Outcome> {
        drain(self.source().as_ref(), request)
    }
}

fn orders(scope: ReadScope) -> Request {
    Request {
        primary_key: vec!["order_id".to_owned()],
        ..Request::of(json!({"stream": "orders", "exclude": ["secret"]}), scope)
    }
}

#[test]
fn a_stream_is_read_and_goes_on_from_its_state() {
    let tap = Tap::new(2);
    let first = tap.read(orders(ReadScope::New)).unwrap();
    assert_eq!(
        first.types(),
        ["order_id Int64", "amount Decimal128(38, 2)", "at Timestamp(µs, \"UTC\")", "lines Utf8"]
    );
    assert_eq!(first.table()[1], ["2", "2.25", "2024-01-01T08:00:00Z", r#"[{"sku":"a"}]"#]);
    assert_eq!(
        tap.seen("seen-config.json"),
        json!({"start": "2024-01-01", "api_key": "planted-key"})
    );
    let streams = &tap.seen("seen-catalog.json")["streams"];
    assert_eq!((&streams[0]["selected"], &streams[1]["selected"]), (&json!(true), &json!(false)));
    tap.write("rows", "3");
    let next =
        tap.read(Request { position: first.position.clone(), ..orders(ReadScope::New) }).unwrap();
    assert_eq!(next.columns(&["order_id"]), [["3"]]);
    let whole = tap.read(Request { position: next.position, ..orders(ReadScope::Whole) }).unwrap();
    assert_eq!(whole.row_count(), 3);
    let other = Request {
        settings: json!({"stream": "notes"}),
        position: first.position,
        ..orders(ReadScope::New)
    };
    assert!(tap.read(other).unwrap_err().message().contains("the last load read another stream"));
}

#[test]
fn a_tap_without_bookmarks_cannot_be_appended() {
    let tap = Tap::new(0);
    tap.write("which", "notes");
    let notes = |scope| Request::of(json!({"stream": "notes"}), scope);
    assert_eq!(tap.read(notes(ReadScope::Whole)).unwrap().table(), [["hello"]]);
    let error = tap.read(notes(ReadScope::New)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`mode: append` would add all of its rows"), "{error}");
}

#[test]
fn what_goes_wrong_in_a_tap_is_said() {
    let tap = Tap::new(1);
    tap.write("fail", "");
    let error = tap.read(orders(ReadScope::Whole)).unwrap_err().report();
    assert!(error.contains("the tap `sh` failed (exit status: 3):"), "{error}");
    assert!(error.contains("  | boom: the system is down"), "{error}");
    std::fs::remove_file(tap.folder.path().join("fail")).unwrap();
    for (line, says) in [
        ("oops", "a line that is no Singer message (line: oops"),
        (r#"{"stream": "orders"}"#, "a message without a `type`"),
        (r#"{"type": "BATCH", "stream": "orders"}"#, "take `batch_config` out of its `config`"),
        (r#"{"type": "RECORD", "stream": "orders", "record": 1}"#, "a record that is no object"),
        (
            r#"{"type": "SCHEMA", "stream": "orders", "schema": {"properties": {"b": {}}}}"#,
            "changed the columns of its stream",
        ),
    ] {
        tap.write("extra", &format!("{line}\n"));
        let error = tap.read(orders(ReadScope::Whole)).unwrap_err().report();
        assert!(error.contains(says) && error.contains("connection: shop"), "{error}");
    }
    tap.write(
        "extra",
        "{\"type\": \"RECORD\", \"stream\": \"orders\", \"record\": {\"orderId\": \"x\"}}\n",
    );
    let read = tap.read(orders(ReadScope::Whole)).unwrap();
    assert_eq!(read.row_count(), 1);
    let (stream, row, reason, _) = &read.rejected[0];
    assert_eq!((stream.as_str(), *row), ("orders", 2));
    assert_eq!(reason, "`order_id` is not a Int64: \"x\"");
    let unknown = Request::of(json!({"stream": "order"}), ReadScope::Whole);
    let error = tap.read(unknown).unwrap_err().report();
    assert!(error.contains("no stream `order`; it has: orders, notes"), "{error}");
    let settings = json!({"command": "tap-nowhere"}).as_object().cloned().unwrap();
    let nowhere = tidemill_connect::kind("singer").unwrap();
    let nowhere = nowhere.connect(settings, ConnectContext::default()).unwrap();
    let error = drain(nowhere.as_ref(), orders(ReadScope::Whole)).unwrap_err();
    assert!(error.message().contains("install it (`pipx install tap-nowhere`)"), "{error}");
}

#[test]
fn a_tap_that_nobody_listens_to_ends() {
    let tap = Tap::new(1);
    tap.write("tap.sh", &TAP.replace("exit 0", "echo $$ > pid; sleep 600"));
    let source = tap.source();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let pid = tap.folder.path().join("pid");
    let began = Instant::now();
    runtime.block_on(async {
        let cancel = tidemill_core::Cancellation::new();
        let request = tidemill_core::ReadRequest {
            settings: json!({"stream": "orders"}),
            name: String::new(),
            cursor: None,
            primary_key: Vec::new(),
            declared: Vec::new(),
            known: None,
            position: None,
            superseded: None,
            siblings: Vec::new(),
            every_change: false,
            scope: ReadScope::Whole,
            until: tidemill_core::Until::CaughtUp,
            parallelism: 1,
            cancel: cancel.clone(),
        };
        let mut changes = source.read(request).await.unwrap();
        let waiting = pid.clone();
        tokio::task::spawn_blocking(move || {
            while !waiting.exists() {
                assert!(began.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
        })
        .await
        .unwrap();
        cancel.cancel();
        let mut last = None;
        while let Some(change) = futures::StreamExt::next(&mut changes).await {
            last = Some(change);
        }
        assert_eq!(last.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
    assert!(began.elapsed() < Duration::from_secs(60));
}
