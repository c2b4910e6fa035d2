//! FTP servers for the tests: pyftpdlib's, with TLS or without, and vsftpd.

use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::drivers::skipped;

/// A server for one test, with a folder of its own. It takes three connections at a time.
pub struct FtpServer {
    port: u16,
    /// It ends when this is dropped, or this process: then its standard input is closed.
    guard: Child,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

/// The password of the user `shop`.
const PASSWORD: &str = "planted-password-of-tests";

impl FtpServer {
    /// pyftpdlib's, by the interpreter that `TIDEMILL_FTP` names; `None` (and a loud word) where there is none,
    /// which in CI is a failure. Its certificate is for `localhost`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(tls: bool) -> Option<FtpServer> {
        let Some(python) = std::env::var_os("TIDEMILL_FTP") else {
            return skipped(
                "no FTP server was found: set TIDEMILL_FTP to a python that has pyftpdlib and \
                 PyOpenSSL (scripts/test does)",
            );
        };
        let (folder, port) = place();
        let mut certificate = String::new();
        if tls {
            certificate = folder.path().join("certificate.pem").display().to_string();
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
                .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-keyout", &certificate, "-out"])
                .arg(folder.path().join("authority.pem"))
                .stderr(Stdio::null())
                .status();
            assert!(made.unwrap().success(), "openssl makes no certificate");
            let both = [&certificate, &folder.path().join("authority.pem").display().to_string()]
                .map(|file| std::fs::read_to_string(file).unwrap());
            std::fs::write(&certificate, both.concat()).unwrap();
        }
        let mut command = Command::new(python);
        command.args(["-c", include_str!("ftp.py"), &port.to_string()]);
        command.arg(folder.path().join("files")).args([PASSWORD, &certificate]);
        Some(FtpServer::run(command, folder, port))
    }

    /// vsftpd, for anonymous users: it lists for people alone. `None` (and a loud word) where there is none,
    /// which in CI is a failure.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn vsftpd() -> Option<FtpServer> {
        let program = Path::new("/usr/sbin/vsftpd");
        if !program.is_file() {
            return skipped("no /usr/sbin/vsftpd was found: install vsftpd");
        }
        let (folder, port) = place();
        let path = folder.path().display().to_string();
        let config = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\n\
             local_enable=NO\nwrite_enable=YES\nanon_root={path}/files\nno_anon_password=YES\nrun_as_launching_user=YES\n\
             anon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\n\
             allow_writeable_chroot=YES\nxferlog_enable=NO\nseccomp_sandbox=NO\n"
        );
        std::fs::write(folder.path().join("config"), config).unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "/usr/sbin/vsftpd {path}/config >{path}/log 2>&1 & server=$!; cat >/dev/null; kill $server; \
             wait $server"
        ));
        Some(FtpServer::run(command, folder, port))
    }

    fn run(mut command: Command, folder: tempfile::TempDir, port: u16) -> FtpServer {
        let guard = command.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
        let mut guard = guard.stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(guard.stdout.take().unwrap());
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "the FTP server did not start");
        }
        FtpServer { port, guard, output, folder }
    }

    /// From now on: whenever it has sent so many bytes of a download, the connections break, and this so
    /// often. How often they did since the last word.
    ///
    /// # Panics
    /// When the server is gone.
    pub fn cut_every(&mut self, bytes: u64, times: usize) -> usize {
        use std::io::{BufRead, Write};
        let input = self.guard.stdin.as_mut().unwrap();
        writeln!(input, "{bytes} {times}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that it serves.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// What signed its certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The password of the user `shop`.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }
}

impl Drop for FtpServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn place() -> (tempfile::TempDir, u16) {
    let folder = tempfile::Builder::new().prefix("tidemill-ftp-").tempdir_in("/tmp").unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (folder, port)
}
