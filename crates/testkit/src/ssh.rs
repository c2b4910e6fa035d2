//! An SFTP server for the tests: OpenSSH's, started once for the process, stopped when it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::drivers::skipped;

/// An `sshd` that knows one key and gives files by SFTP, all of the machine's that this user may see.
pub struct SshServer {
    port: u16,
    user: String,
    /// It ends when this process does: then its standard input is closed.
    _guard: Child,
    folder: tempfile::TempDir,
}

impl SshServer {
    /// The one that the tests of a process share; `None` (and a loud word) where there is no OpenSSH to
    /// start, which in CI is a failure.
    pub fn shared() -> Option<&'static SshServer> {
        static SERVER: OnceLock<Option<SshServer>> = OnceLock::new();
        SERVER.get_or_init(SshServer::start).as_ref()
    }

    fn start() -> Option<SshServer> {
        let sshd = Path::new("/usr/sbin/sshd");
        let output = |command: &mut Command| {
            let output = command.output().ok().filter(|output| output.status.success())?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        if !sshd.is_file() {
            return skipped("no /usr/sbin/sshd was found: install openssh-server");
        }
        let folder = tempfile::Builder::new().prefix("tidemill-ssh-").tempdir_in("/tmp").unwrap();
        let path = folder.path().display().to_string();
        for (name, kind, passphrase) in [
            ("host_ed25519", "ed25519", ""),
            ("host_ecdsa", "ecdsa", ""),
            ("id_ed25519", "ed25519", ""),
            ("id_rsa", "rsa", "a passphrase of tests"),
            ("id_other", "ed25519", ""),
        ] {
            let file = format!("{path}/{name}");
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", kind, "-N", passphrase, "-C", "tests", "-f", &file]);
            if output(&mut keygen).is_none() {
                return skipped("ssh-keygen does not make keys: install openssh-client");
            }
        }
        let public = |name: &str| std::fs::read_to_string(format!("{path}/{name}.pub")).unwrap();
        let accepted = [public("id_ed25519"), public("id_rsa")].concat();
        std::fs::write(folder.path().join("accepted"), accepted).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {path}/host_ed25519\nHostKey {path}/host_ecdsa\n\
             AuthorizedKeysFile {path}/accepted\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             MaxStartups 200\nSubsystem sftp internal-sftp\n"
        );
        std::fs::write(folder.path().join("config"), config).unwrap();
        let guard = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "mkdir -p /run/sshd 2>/dev/null; /usr/sbin/sshd -D -e -f {path}/config \
                 >{path}/log 2>&1 & server=$!; cat >/dev/null; kill $server; wait $server; rm -rf {path}"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .current_dir("/")
            .spawn()
            .unwrap();
        let user = output(Command::new("id").arg("-un")).unwrap_or_default();
        let server = SshServer { port, user, _guard: guard, folder };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(server.folder.path().join("log"));
            let waited = began.elapsed() < Duration::from_secs(30);
            assert!(waited, "sshd did not start: {}", log().unwrap_or_default());
        }
        Some(server)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who may log in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A key that is accepted.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("id_ed25519")
    }

    /// Another one, and what it is encrypted with.
    pub fn encrypted_key(&self) -> (PathBuf, &'static str) {
        (self.folder.path().join("id_rsa"), "a passphrase of tests")
    }

    /// A key that is not accepted.
    pub fn unknown_key(&self) -> PathBuf {
        self.folder.path().join("id_other")
    }

    /// The public keys of the server: of Ed25519, and of ECDSA.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn host_keys(&self) -> [String; 2] {
        ["host_ed25519", "host_ecdsa"].map(|name| {
            let file = self.folder.path().join(format!("{name}.pub"));
            let text = std::fs::read_to_string(file).unwrap();
            text.rsplit_once(' ').map(|(key, _)| key.to_owned()).unwrap_or(text)
        })
    }

    /// The fingerprint of its key of Ed25519, by the word of `ssh-keygen`.
    ///
    /// # Panics
    /// When there is none.
    pub fn fingerprint(&self) -> String {
        let file = self.folder.path().join("host_ed25519.pub");
        let output = Command::new("ssh-keygen").arg("-lf").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split(' ').nth(1).unwrap().to_owned()
    }
}
