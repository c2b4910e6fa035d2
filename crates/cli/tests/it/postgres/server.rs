//! Projects in a database of the tests' PostgreSQL.

use tidemill_testkit::PostgresServer;

use crate::sandbox::Sandbox;

/// A project whose profile is a database of its own.
pub(super) struct Project {
    pub(super) sandbox: Sandbox,
    pub(super) database: String,
    server: &'static PostgresServer,
}

impl Project {
    /// `None` where there is no PostgreSQL.
    pub(super) fn new(files: &[(&str, &str)]) -> Option<Project> {
        let server = PostgresServer::shared()?;
        let database = server.database();
        let sandbox = Sandbox::new(files);
        let project = Project { sandbox, database, server };
        project.sandbox.write("profiles.yml", project.profile(""));
        if !files.iter().any(|(name, _)| *name == "dbt_project.yml") {
            project.sandbox.write("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n");
        }
        Some(project)
    }

    /// The profile, with further fields.
    pub(super) fn profile(&self, more: &str) -> String {
        format!(
            "shop:\n  target: dev\n  outputs:\n    dev:\n      type: postgres\n      host: 127.0.0.1\n      \
             port: {}\n      user: postgres\n      password: secret\n      dbname: {}\n      schema: main\n      \
             threads: 4\n{more}",
            self.server.port(),
            self.database
        )
    }

    /// What a statement gives, columns separated by commas.
    #[track_caller]
    pub(super) fn sql(&self, sql: &str) -> Vec<String> {
        self.server.sql(&self.database, sql)
    }

    #[track_caller]
    pub(super) fn value(&self, sql: &str) -> String {
        let rows = self.sql(sql);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }

    /// The relations of the schema `main` with their kinds.
    pub(super) fn relations(&self) -> Vec<String> {
        self.sql(
            "select c.relkind::text || ' ' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where n.nspname = 'main' and c.relkind in ('r', 'v', 'm') order by c.relname",
        )
    }
}

/// A project in a database, or the end of the test where there is none.
macro_rules! project {
    ($($files:tt)*) => {
        match super::server::Project::new($($files)*) {
            Some(project) => project,
            None => return,
        }
    };
}
pub(super) use project;
