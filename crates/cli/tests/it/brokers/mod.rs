//! Loads from Redis, RabbitMQ and MQTT, filled by clients that are not ours.

mod exports;
mod mqtt;
mod rabbitmq;
mod redis;

use crate::databases::LOAD_STEPS as STEPS;
use crate::sandbox::{Outcome, Sandbox};

/// A project with a connection `mq` and a table `raw.t` that is loaded through it.
struct Project(Sandbox);

impl Project {
    fn new(kind: &str, settings: &str, ingest: &str) -> Project {
        let project = Project(Sandbox::new(&[(
            "connections.yml",
            &format!("connections:\n  mq: {{type: {kind}, {settings}}}\n"),
        )]));
        project.loads(ingest);
        project
    }

    /// With these settings of the load; behind a semicolon a column that is a bigint.
    fn loads(&self, ingest: &str) {
        let (ingest, column) = ingest.split_once("; ").unwrap_or((ingest, ""));
        let columns = match column {
            "" => String::new(),
            name => format!("        columns: [{{name: {name}, data_type: bigint}}]\n"),
        };
        self.0.write(
            "models/s.yml",
            format!(
                "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {{connection: mq, {ingest}}}\n{columns}"
            ),
        );
    }

    #[track_caller]
    fn ingests(&self) -> Outcome {
        self.0.run(&["ingest"]).ok()
    }

    #[track_caller]
    fn rows(&self, select: &str) -> Vec<String> {
        self.0.rows(&format!("select {select}"))
    }

    #[track_caller]
    fn value(&self, select: &str) -> String {
        self.0.value(&format!("select {select}"))
    }
}

/// Every number from the first to before the last is in column `n` of the table once.
#[track_caller]
fn has_each_once(project: &Project, from: u32, to: u32) {
    let found = project
        .value("count(*) || ' ' || count(distinct n) || ' ' || min(n) || ' ' || max(n) from raw.t");
    let count = to - from;
    assert_eq!(found, format!("{count} {count} {from} {}", to - 1));
}
