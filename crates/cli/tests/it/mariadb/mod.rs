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

    #[track_caller]
    pub(super) fn sql(&self, sql: &str) -> Vec<String> {
        self.server.sql(&self.database, sql)
    }
}
