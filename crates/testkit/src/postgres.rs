//! A PostgreSQL for the tests: started once for the process, stopped when it ends, however it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client::fed;

/// A server of its own.
pub struct PostgresServer {
    port: u16,
    binaries: PathBuf,
    folder: PathBuf,
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

impl PostgresServer {
    /// The one that the tests of a process share; `None` (and a loud word) where there is no
    /// PostgreSQL to start, which in CI is a failure.
    pub fn shared() -> Option<&'static PostgresServer> {
        static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();
        SERVER.get_or_init(PostgresServer::start).as_ref()
    }

    /// Another one, for a test that stops it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Option<PostgresServer> {
        PostgresServer::start_with("")
    }

    /// The same, with further options.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(options: &str) -> Option<PostgresServer> {
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
        // Whoever stops it has it started again.
        let guard = shell(&format!(
            "while ! test -e {folder}/stop; do \
             {bin}/postgres -D {folder}/data -p {port} -c listen_addresses=127.0.0.1 \
             -c unix_socket_directories={folder} -c fsync=off -c timezone=UTC -c max_connections=200 \
             -c wal_level=logical -c max_replication_slots=100 {options} >>{folder}/log 2>&1; done & loop=$!; cat >/dev/null; \
             touch {folder}/stop; kill -INT $(head -1 {folder}/data/postmaster.pid); wait $loop; \
             rm -rf {folder}/data"
        ))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
        let folder = data.path().to_owned();
        let server = PostgresServer { port, binaries, folder, _guard: guard, _data: data };
        server.wait();
        Some(server)
    }

    /// Waits until it answers.
    fn wait(&self) {
        let began = Instant::now();
        while !self.psql("postgres", "select 1").1 {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL did not start");
        }
    }

    /// Stops it as somebody does who does not wait for what runs; it is started again at once.
    ///
    /// # Panics
    /// When it cannot be told to stop.
    pub fn restart(&self) {
        let (bin, folder) = (self.binaries.display(), self.folder.display());
        let mut stop = shell(&format!("{bin}/pg_ctl -D {folder}/data -m fast -W stop"));
        assert!(stop.status().unwrap().success());
    }

    /// Where it listens on 127.0.0.1. Every user is trusted; `postgres` may do everything.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new database; its name.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {database}"));
        database
    }

    /// What psql prints for a statement, columns separated by commas, and whether it was content.
    ///
    /// # Panics
    /// When psql cannot be run.
    pub fn psql(&self, database: &str, sql: &str) -> (String, bool) {
        let mut client = Command::new(self.binaries.join("psql"));
        client
            .args(["-h", "127.0.0.1", "-U", "postgres", "-d", database])
            .args(["-p", &self.port.to_string()])
            .args(["-X", "-q", "-A", "-t", "-F", ",", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        fed(&mut client, sql)
    }

    /// The lines that a statement gives.
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> Vec<String> {
        let (said, done) = self.psql(database, sql);
        assert!(done, "{said}");
        said.lines().map(str::to_owned).collect()
    }
}
