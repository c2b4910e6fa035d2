//! Loads from a MariaDB, and exports to one, on a real server.

mod changes;
mod exports;
mod together;

use tidemill_testkit::MariaDbServer;

use crate::sandbox::Sandbox;

/// A project with a lake, and a database that it has a connection to.
pub(super) struct Shop<'a> {
    pub(super) sandbox: Sandbox,
    pub(super) server: &'a MariaDbServer,
    pub(super) database: String,
}

impl<'a> Shop<'a> {
    pub(super) fn new(server: &'a MariaDbServer, sql: &str) -> Self {
        let shop = Shop { sandbox: Sandbox::new(&[]), server, database: server.database() };
        shop.sql(sql);
        shop.connects("root");
        shop
    }

    /// Connects as this user, or with further settings.
    pub(super) fn connects(&self, user: &str) {
        self.sandbox.write(
            "connections.yml",
            format!(
                "connections:\n  shop:\n    type: mysql\n    port: {}\n    user: {user}\n    database: {}\n",
                self.server.port(),
                self.database
            ),
        );
    }

    /// The file of its log that the server writes now.
    pub(super) fn log_file(&self) -> String {
        self.sql("show master status")[0].split('\t').next().unwrap().to_owned()
    }

    /// Removes all files of the log before this one.
    pub(super) fn purges_up_to(&self, file: &str) {
        // One that somebody reads stays, and for a moment one that a recovery would need.
        let readers =
            "select count(*) from information_schema.processlist where command = 'Binlog Dump'";
        while self.sql(readers) != ["0"] {}
        while !self.sql("show binary logs")[0].starts_with(file) {
            self.sql(&format!("purge binary logs to '{file}'"));
        }
    }

    #[track_caller]
    pub(super) fn sql(&self, sql: &str) -> Vec<String> {
        self.server.sql(&self.database, sql)
    }
}
