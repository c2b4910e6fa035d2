//! Packages from a server whose certificate only an authority of one's own has signed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::sandbox::Sandbox;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

/// `me:token`
const LOGIN: &str = "Authorization: Basic bWU6dG9rZW4=";

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A project's folder as a repository that a plain web server can give, and as an archive.
fn package(folder: &Path) {
    let package = folder.join("package");
    std::fs::create_dir_all(package.join("macros")).unwrap();
    std::fs::write(package.join("dbt_project.yml"), "name: five\nversion: '1.0.0'\n").unwrap();
    std::fs::write(package.join("macros/five.sql"), "{% macro five() %}5{% endmacro %}").unwrap();
    run("tar", &["czf", "five.tgz", "package"], folder);
    run("git", &["init", "--quiet", "-b", "main"], &package);
    run("git", &["add", "."], &package);
    let commit =
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
    run("git", &[&commit[..], &["commit", "--quiet", "-m", "one"]].concat(), &package);
    run("git", &["update-server-info"], &package);
}

/// Serves the package below `https://localhost:PORT` until the process ends; gives that address.
fn serve(folder: PathBuf) -> String {
    let certificates = CertificateDer::pem_file_iter(format!("{DATA}/localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{DATA}/localhost.key")).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key)
            .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let address = base.clone();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = Stream::new(&mut connection, &mut socket);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let _ = stream.write_all(&answer(&String::from_utf8_lossy(&request), &folder, &base));
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    address
}

fn answer(request: &str, folder: &Path, base: &str) -> Vec<u8> {
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let (status, header, body) = match path {
        "/api/v1/acme/five.json" => ("302 Found", "Location: /moved.json".to_owned(), Vec::new()),
        "/moved.json" => {
            let listing = serde_json::json!({"name": "five", "versions": {"1.0.0": {
                "name": "five", "version": "1.0.0", "packages": [],
                "downloads": {"tarball": format!("{base}/old.tgz"), "format": "tgz"},
            }}});
            ("200 OK", String::new(), listing.to_string().into_bytes())
        }
        "/old.tgz" => ("301 Moved", format!("Location: {base}/five.tgz"), Vec::new()),
        "/five.tgz" => ("200 OK", String::new(), std::fs::read(folder.join("five.tgz")).unwrap()),
        "/loop.tgz" => ("302 Found", "Location: /loop.tgz".to_owned(), Vec::new()),
        _ if path.starts_with("/five.git/") && !request.contains(LOGIN) => {
            ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"".to_owned(), Vec::new())
        }
        _ => {
            let file =
                path.strip_prefix("/five.git/").map(|file| folder.join("package/.git").join(file));
            match file.and_then(|file| std::fs::read(file).ok()) {
                Some(body) => ("200 OK", String::new(), body),
                None => ("404 Not Found", String::new(), Vec::new()),
            }
        }
    };
    let header = if header.is_empty() { header } else { format!("{header}\r\n") };
    let head = format!(
        "HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[test]
fn a_hub_with_a_certificate_of_ones_own_authority() {
    let served = tempfile::tempdir().unwrap();
    package(served.path());
    let hub = serve(served.path().to_owned());
    let authority = format!("{DATA}/authority.pem");
    let sandbox = Sandbox::new(&[
        ("packages.yml", "packages:\n  - {package: acme/five, version: 1.0.0}\n"),
        ("models/m.sql", "select {{ five.five() }} as n"),
    ]);
    let hub_only = [("DBT_PACKAGE_HUB_URL", hub.as_str())];
    sandbox.run_with(&hub_only, &["deps"]).fails_with(1).says("UnknownIssuer");
    let trusted = [("DBT_PACKAGE_HUB_URL", hub.as_str()), ("SSL_CERT_FILE", authority.as_str())];
    sandbox.run_with(&trusted, &["deps"]).ok().says("five");
    sandbox.build().ok();
    assert_eq!(sandbox.value("select n from m"), "5");
    let lock = std::fs::read_to_string(sandbox.path("package-lock.yml")).unwrap();
    assert!(lock.contains("package: acme/five") && lock.contains("version: 1.0.0"), "{lock}");
    // What leads nowhere ends, and leaves what was installed.
    sandbox.write(
        "packages.yml",
        format!("packages:\n  - {{tarball: '{hub}/loop.tgz', name: five}}\n"),
    );
    sandbox.run_with(&trusted, &["deps"]).fails_with(1).says("too many redirects");
    assert!(sandbox.path("dbt_packages/five/macros/five.sql").is_file());
}

#[test]
fn a_private_repository_by_a_token_of_the_environment() {
    let served = tempfile::tempdir().unwrap();
    package(served.path());
    let host = serve(served.path().to_owned());
    let host = host.strip_prefix("https://").unwrap();
    let url = format!("https://me:{{{{ env_var('DBT_ENV_SECRET_TOKEN') }}}}@{host}/five.git");
    let sandbox = Sandbox::new(&[
        ("packages.yml", &format!("packages:\n  - {{git: \"{url}\", revision: main}}\n")),
        ("models/m.sql", "select {{ five.five() }} as n"),
    ]);
    let authority = format!("{DATA}/authority.pem");
    let deps = |token: &str, upgrade: &[&str]| {
        let variables = [
            ("DBT_ENV_SECRET_TOKEN", token),
            ("GIT_SSL_CAINFO", authority.as_str()),
            ("GIT_TERMINAL_PROMPT", "0"),
        ];
        sandbox.run_with(&variables, &[&["deps"][..], upgrade].concat())
    };
    deps("token", &[]).ok().says("five").does_not_say("token@");
    let lock = std::fs::read_to_string(sandbox.path("package-lock.yml")).unwrap();
    assert!(lock.contains("DBT_ENV_SECRET_TOKEN") && !lock.contains("me:token"), "{lock}");
    let token = [("DBT_ENV_SECRET_TOKEN", "token")];
    sandbox.run_with(&token, &["show", "--select", "m"]).ok().says("5");
    deps("another", &["--upgrade"]).fails_with(1).says("https://***@").does_not_say("another");
}
