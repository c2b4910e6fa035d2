//! A Redis, a RabbitMQ and an MQTT broker for the tests: started once for the process, stopped when it ends,
//! however it ends.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::client::fed;

/// The program of a RabbitMQ that asks for no user of its own.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A server, until this process ends: then the standard input of its guard is closed.
struct Process {
    port: u16,
    _guard: Child,
    folder: tempfile::TempDir,
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = std::path::PathBuf::from("/usr/sbin");
    std::path::Path::new(program).is_absolute() && std::path::Path::new(program).is_file()
        || std::env::split_paths(&path).chain([sbin]).any(|folder| folder.join(program).is_file())
}

/// Says loudly that something is not tested, which in CI is a failure.
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Process {
    /// Starts `server` in a shell whose variable `folder` is its own; `end` ends the process `$server`.
    fn start(
        programs: &[&str],
        package: &str,
        end: &str,
        server: impl FnOnce(u16) -> String,
    ) -> Option<Process> {
        if let Some(program) = programs.iter().find(|program| !is_there(program)) {
            missing(&format!("`{program}` was not found: install {package}"));
            return None;
        }
        let folder =
            tempfile::Builder::new().prefix("tidemill-broker-").tempdir_in("/tmp").unwrap();
        let port = free_port();
        let server = server(port);
        let script = format!(
            "export PATH=$PATH:/usr/sbin folder={0} HOME={0}; {server} >{0}/log 2>&1 & server=$!; \
             cat >/dev/null; {end}; wait $server 2>/dev/null; rm -rf {0}",
            folder.path().display()
        );
        let guard = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()
            .unwrap();
        let process = Process { port, _guard: guard, folder };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let waited = began.elapsed() < Duration::from_secs(90);
            let log = || std::fs::read_to_string(process.folder.path().join("log"));
            assert!(waited, "{package} did not start: {}", log().unwrap_or_default());
        }
        Some(process)
    }
}

/// A Redis.
pub struct RedisServer(Process);

impl RedisServer {
    /// The one that the tests of a process share; `None` (and a loud word) where there is none to start.
    pub fn shared() -> Option<&'static RedisServer> {
        static SERVER: OnceLock<Option<RedisServer>> = OnceLock::new();
        SERVER.get_or_init(|| RedisServer::own("")).as_ref()
    }

    /// One for a test alone, with further options.
    pub fn own(options: &str) -> Option<RedisServer> {
        let server = |port| {
            format!(
                "redis-server --bind 127.0.0.1 --port {port} --save '' --appendonly no --dir $folder \
                 --databases 1000 {options}"
            )
        };
        let programs = ["redis-server", "redis-cli"];
        Process::start(&programs, "redis-server", "kill $server", server).map(RedisServer)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What `redis-cli` says to these commands, one a line, in a database.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn cli(&self, database: u32, commands: &str) -> Vec<String> {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.0.port.to_string(), "-n", &database.to_string()]);
        let (said, done) = fed(&mut client, commands);
        let failed = said.lines().any(|line| line.starts_with("ERR ") || line.starts_with("WRONG"));
        assert!(done && !failed, "{said}");
        said.lines().map(str::to_owned).collect()
    }
}

/// A RabbitMQ. Its user `guest` has the password `guest`.
pub struct RabbitMqServer {
    process: Process,
    python: String,
}

impl RabbitMqServer {
    /// The one that the tests of a process share; `None` (and a loud word) where there is none to start, or no
    /// client that is not ours.
    pub fn shared() -> Option<&'static RabbitMqServer> {
        static SERVER: OnceLock<Option<RabbitMqServer>> = OnceLock::new();
        SERVER.get_or_init(RabbitMqServer::start).as_ref()
    }

    fn start() -> Option<RabbitMqServer> {
        let Ok(python) = std::env::var("TIDEMILL_PIKA") else {
            missing("TIDEMILL_PIKA names no Python that has `pika`; scripts/test sets it");
            return None;
        };
        let (names, distribution) = (free_port(), free_port());
        let server = |port| {
            format!(
                "env RABBITMQ_NODENAME=tidemill{port}@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
                 RABBITMQ_NODE_PORT={port} RABBITMQ_DIST_PORT={distribution} ERL_EPMD_PORT={names} \
                 ERL_EPMD_RELAXED_COMMAND_CHECK=1 \
                 ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE=$folder/data RABBITMQ_LOG_BASE=$folder/logs \
                 RABBITMQ_PID_FILE=$folder/pid RABBITMQ_ENABLED_PLUGINS_FILE=$folder/plugins \
                 RABBITMQ_CONF_ENV_FILE=/dev/null {RABBITMQ}"
            )
        };
        let end =
            format!("kill -KILL $(cat $folder/pid); epmd -port {names} -kill >/dev/null 2>&1");
        let process = Process::start(&[RABBITMQ], "rabbitmq-server", &end, server)?;
        let server = RabbitMqServer { process, python };
        // The port is open somewhat before the server lets anybody in.
        let began = Instant::now();
        while !server.run("", "", "").1 {
            assert!(began.elapsed() < Duration::from_secs(60), "RabbitMQ lets nobody in");
        }
        Some(server)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.process.port
    }

    /// What a script says that has a `channel` of `pika` (which confirms what is published), and `name`.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn pika(&self, name: &str, script: &str) -> String {
        let (said, done) = self.run(name, script, "channel.confirm_delivery()");
        assert!(done, "{said}");
        said
    }

    /// The same without waiting for the server to confirm each message.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn pika_fast(&self, name: &str, script: &str) -> String {
        let (said, done) = self.run(name, script, "");
        assert!(done, "{said}");
        said
    }

    fn run(&self, name: &str, script: &str, confirms: &str) -> (String, bool) {
        let whole = format!(
            "import json, pika, sys\n\
             connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', {}))\n\
             channel = connection.channel()\n{confirms}\nname = '{name}'\n\
             Properties = pika.BasicProperties\n\
             def send(body, **properties):\n    \
                 channel.basic_publish('', name, body, Properties(delivery_mode=2, **properties))\n\
             def count():\n    \
                 return channel.queue_declare(name, passive=True).method.message_count\n\
             {script}\nconnection.close()\n",
            self.process.port
        );
        fed(Command::new(&self.python).arg("-"), &whole)
    }
}

/// An MQTT broker (Mosquitto) that keeps as many messages as come.
pub struct MqttServer(Process);

impl MqttServer {
    /// The one that the tests of a process share; `None` (and a loud word) where there is none to start.
    pub fn shared() -> Option<&'static MqttServer> {
        static SERVER: OnceLock<Option<MqttServer>> = OnceLock::new();
        SERVER.get_or_init(|| MqttServer::own("allow_anonymous true")).as_ref()
    }

    /// One for a test alone, with further lines of its configuration. In `$folder/words` the user `me` has the
    /// password `right-word`.
    pub fn own(options: &str) -> Option<MqttServer> {
        let server = |port| {
            format!(
                "sh -c 'printf \"%s\\n\" \"listener {port} 127.0.0.1\" \"user $(id -un)\" \"max_inflight_messages 0\" \
                 \"max_queued_messages 0\" \"{}\" >$folder/conf; touch $folder/words; \
                 mosquitto_passwd -b $folder/words me right-word; exec mosquitto -c $folder/conf'",
                options.replace('\n', "\" \"")
            )
        };
        let programs = ["mosquitto", "mosquitto_pub"];
        Process::start(&programs, "mosquitto mosquitto-clients", "kill $server", server)
            .map(MqttServer)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Has `mosquitto_pub` publish each line as a message.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn publish(&self, topic: &str, arguments: &[&str], lines: &str) {
        let mut client = Command::new("mosquitto_pub");
        client.args(["-p", &self.0.port.to_string(), "-t", topic, "-l"]).args(arguments);
        let (said, done) = fed(&mut client, lines);
        assert!(done, "{said}");
    }
}
