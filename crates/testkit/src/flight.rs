//! Servers of Flight SQL for the tests: each started once for the process, stopped when it ends. Their programs
//! come from the Python environment (`scripts/adbc.txt`) that `TIDEMILL_ADBC` names.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::drivers::{adbc_folder, skipped};
use crate::queues::free_port;

/// A server of Flight SQL.
pub struct FlightServer {
    port: u16,
    /// It ends when this process does: then its standard input is closed.
    guard: Child,
    _data: tempfile::TempDir,
}

/// The password of the user `shop`.
const PASSWORD: &str = "planted-password-of-tests";

/// The interpreter of the environment whose packages `TIDEMILL_ADBC` names.
fn python() -> Option<PathBuf> {
    // bin beside lib/python3.11/site-packages.
    let python = adbc_folder()?.ancestors().nth(3)?.join("bin/python");
    Some(python).filter(|file| file.is_file())
}

impl FlightServer {
    /// Sail: it speaks the SQL of Spark, asks for no user and says nothing about itself. `None` (and a loud word)
    /// where there is none, which in CI is a failure.
    pub fn sail() -> Option<&'static FlightServer> {
        static SERVER: OnceLock<Option<FlightServer>> = OnceLock::new();
        SERVER
            .get_or_init(|| {
                let has = adbc_folder().is_some_and(|folder| folder.join("pysail").is_dir());
                let Some(python) = python().filter(|_| has) else {
                    return skipped(
                        "no Sail was found: set TIDEMILL_ADBC to the folder of packages of an environment with \
                         scripts/adbc.txt (scripts/test does)",
                    );
                };
                Some(FlightServer::start(|port| {
                    // Its own program names the folder in which the environment was made.
                    let sail = "import sys; from pysail.cli import main; sys.exit(main())";
                    let run = "\"$0\" -c \"$1\" flight server --ip 127.0.0.1 --port $2 </dev/null & server=$!; \
                               cat >/dev/null; kill $server; wait $server";
                    let mut command = Command::new("sh");
                    command.args(["-c", run]).arg(&python).args([sail, &port.to_string()]);
                    command
                }))
            })
            .as_ref()
    }

    /// A DuckDB in memory for the user `shop`, whose session is not in UTC. `None` (and a loud word) where there
    /// is none, which in CI is a failure.
    pub fn duckdb() -> Option<FlightServer> {
        let has = |package| adbc_folder().is_some_and(|folder| folder.join(package).is_dir());
        match python().filter(|_| has("duckdb") && has("pyarrow")) {
            Some(python) => Some(FlightServer::start(|port| {
                let mut command = Command::new(&python);
                command.args(["-c", include_str!("flight.py"), &port.to_string(), PASSWORD]);
                command
            })),
            None => skipped(
                "no DuckDB and pyarrow were found: set TIDEMILL_ADBC to the folder of packages of an environment \
                 with scripts/adbc.txt (scripts/test does)",
            ),
        }
    }

    fn start(command: impl Fn(u16) -> Command) -> FlightServer {
        let port = free_port();
        let data = tempfile::Builder::new().prefix("tidemill-flight-").tempdir().unwrap();
        let guard = command(port)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(data.path())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let waited = began.elapsed() < Duration::from_secs(60);
            assert!(waited, "the server of Flight SQL did not start");
            std::thread::yield_now();
        }
        FlightServer { port, guard, _data: data }
    }

    /// Runs statements by a client that is not ours, as the user that needs no name.
    ///
    /// # Panics
    /// When the server refuses one.
    #[track_caller]
    pub fn execute(&self, statements: &[&str]) {
        let script = "
import sys
from pyarrow import flight

def field(number, data):
    size, head = len(data), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head + bytes([size]) + data)

client = flight.FlightClient(sys.argv[1])
name = b'type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery'
for sql in sys.argv[2:]:
    command = field(1, name) + field(2, field(1, sql.encode()))
    for end in client.get_flight_info(flight.FlightDescriptor.for_command(command)).endpoints:
        client.do_get(end.ticket).read_all()
";
        let python = python().unwrap();
        let output =
            Command::new(python).args(["-c", script, &self.uri()]).args(statements).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where it listens.
    pub fn uri(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    /// The password of the user `shop`.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }
}

impl Drop for FlightServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
