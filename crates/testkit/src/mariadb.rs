//! A MariaDB for the tests: started once for the process, stopped when it ends, however it ends.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client::fed;

/// A server of its own, which keeps a log of changes of rows. Names are quoted as in standard SQL there, and
/// texts have no escapes.
pub struct MariaDbServer {
    port: u16,
    /// It ends when this process does: then its standard input is closed.
    _guard: Child,
    data: tempfile::TempDir,
}

impl MariaDbServer {
    /// The one that the tests of a process share; `None` (and a loud word) where there is no MariaDB to
    /// start, which in CI is a failure.
    pub fn shared() -> Option<&'static MariaDbServer> {
        static SERVER: OnceLock<Option<MariaDbServer>> = OnceLock::new();
        SERVER.get_or_init(|| MariaDbServer::own("")).as_ref()
    }

    /// One for a test alone, with further options.
    pub fn own(options: &str) -> Option<MariaDbServer> {
        let there = |program: &&str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        if !["mariadbd", "mariadb-install-db", "mariadb"].iter().all(there) {
            let missing = "no MariaDB was found (mariadbd, mariadb-install-db, mariadb): install \
                           mariadb-server";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            return None;
        }
        let data = tempfile::Builder::new().prefix("tidemill-maria-").tempdir_in("/tmp").unwrap();
        let folder = data.path().display();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // A server that starts takes temporary files of others for its own of before, and removes them.
        let guard = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "user=$(id -un); mkdir {folder}/tmp; export TMPDIR={folder}/tmp; mariadb-install-db --no-defaults --user=$user --datadir={folder}/data \
                 --auth-root-authentication-method=normal --skip-test-db >{folder}/log 2>&1; \
                 mariadbd --no-defaults --user=$user --datadir={folder}/data --bind-address=127.0.0.1 \
                 --port={port} --socket={folder}/socket --pid-file={folder}/pid --sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES \
                 --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --character-set-server=utf8mb4 \
                 --log-bin=binlog --binlog-format=ROW --binlog-row-image=FULL --server-id=1 {options} \
                 >>{folder}/log 2>&1 & server=$!; cat >/dev/null; kill $server; wait $server; rm -rf {folder}/data {folder}/tmp"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .current_dir("/")
            .spawn()
            .unwrap();
        let server = MariaDbServer { port, _guard: guard, data };
        let began = Instant::now();
        while !server.run("", "select 1").1 {
            let waited = began.elapsed() < Duration::from_secs(90);
            let log = || std::fs::read_to_string(server.data.path().join("log"));
            assert!(waited, "MariaDB did not start: {}", log().unwrap_or_default());
        }
        Some(server)
    }

    /// Where it listens on 127.0.0.1. The user `root` needs no password.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new database; its name.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("", &format!("create database {database}"));
        database
    }

    /// What the client prints for statements, and whether it was content.
    ///
    /// # Panics
    /// When the client cannot be run.
    pub fn run(&self, database: &str, sql: &str) -> (String, bool) {
        let mut client = Command::new("mariadb");
        client
            .args(["--no-defaults", "-h", "127.0.0.1", "-u", "root", "-N", "-B"])
            .args(["--default-character-set=utf8mb4", "-P", &self.port.to_string()])
            .args(Some(database).filter(|database| !database.is_empty()));
        fed(&mut client, sql)
    }

    /// The lines that statements give, columns separated by tabs.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> Vec<String> {
        let (said, done) = self.run(database, sql);
        assert!(done, "{said}");
        said.lines().map(str::to_owned).collect()
    }
}
