//! A PostgreSQL for the tests: started once for the process, stopped when it ends, however it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

/// The server; `None` where there is no PostgreSQL to start.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

struct Server {
    port: u16,
    binaries: PathBuf,
    /// It ends when this process does: then its standard input is closed.
    _guard: Child,
    _data: tempfile::TempDir,
}

/// The folder with `initdb` and `postgres`.
fn binaries() -> Option<PathBuf> {
    let has = |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    if let Some(given) = std::env::var_os("TIDEMILL_POSTGRES") {
        return Some(PathBuf::from(given)).filter(|folder| has(folder));
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| has(folder))
        .collect();
    found.sort();
    found.pop().or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| has(folder))
    })
}

/// A shell's command, not as root: PostgreSQL refuses that.
fn shell(script: &str) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let mut command = match root {
        true => {
            let known =
                Command::new("id").arg("postgres").output().is_ok_and(|out| out.status.success());
            let user = if known { "postgres" } else { "nobody" };
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--", "sh", "-c", script]);
            command
        }
        false => {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command
}

impl Server {
    fn start() -> Option<Server> {
        let Some(binaries) = binaries() else {
            let missing = "no PostgreSQL was found (initdb, postgres): install postgresql, or set \
                           TIDEMILL_POSTGRES to the folder of its programs";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            return None;
        };
        let data = tempfile::Builder::new().prefix("tidemill-pg-").tempdir_in("/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(data.path(), open).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (bin, folder) = (binaries.display(), data.path().display());
        let made = shell(&format!(
            "{bin}/initdb -D {folder}/data -A trust -U postgres --no-sync --encoding=UTF8 --locale=C"
        ))
        .status()
        .unwrap();
        assert!(made.success(), "initdb failed");
        let guard = shell(&format!(
            "{bin}/postgres -D {folder}/data -p {port} -c listen_addresses=127.0.0.1 \
             -c unix_socket_directories={folder} -c fsync=off -c timezone=UTC -c max_connections=200 \
             >{folder}/log 2>&1 & server=$!; cat >/dev/null; kill -INT $server; wait $server; rm -rf {folder}/data"
        ))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
        let server = Server { port, binaries, _guard: guard, _data: data };
        let began = Instant::now();
        while !server.psql("postgres", "select 1").1 {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL did not start");
        }
        Some(server)
    }

    /// What psql prints for a statement, and whether it was content.
    fn psql(&self, database: &str, sql: &str) -> (String, bool) {
        let output = Command::new(self.binaries.join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .args(["-X", "-q", "-A", "-t", "-F", ",", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).trim_end().to_owned(), output.status.success())
    }
}

/// A project whose profile is a database of its own.
pub(super) struct Project {
    pub(super) sandbox: Sandbox,
    pub(super) database: String,
    server: &'static Server,
}

impl Project {
    /// `None` where there is no PostgreSQL.
    pub(super) fn new(files: &[(&str, &str)]) -> Option<Project> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = server()?;
        let database = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (said, done) = server.psql("postgres", &format!("create database {database}"));
        assert!(done, "{said}");
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
            self.server.port, self.database
        )
    }

    /// What a statement gives, columns separated by commas.
    #[track_caller]
    pub(super) fn sql(&self, sql: &str) -> Vec<String> {
        let (said, done) = self.server.psql(&self.database, sql);
        assert!(done, "{said}");
        said.lines().map(str::to_owned).collect()
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
