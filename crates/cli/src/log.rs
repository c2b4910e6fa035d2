//! What is logged: to standard error when asked for, and to `logs/dbt.log` of the project.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, filter};

use crate::flags::Flags;

/// What is said to the user is logged under this name.
pub(crate) const SAID: &str = "tidemill::said";

/// How many full files are kept.
const KEPT: usize = 5;

/// Starts logging. `folder` is where the log file goes; `None`: there is none. A file that cannot
/// be written is no reason to stop.
pub(crate) fn start(flags: &Flags, folder: Option<&Path>) {
    let given = std::env::var("TIDEMILL_LOG").ok();
    let debug = flags.on("debug") || flags.text("log_level") == Some("debug");
    let stderr = (given.is_some() || debug).then(|| {
        let filter = given.unwrap_or_else(|| {
            "warn,tidemill=debug,tidemill_run=debug,tidemill_lake=debug,tidemill_engine=debug"
                .to_owned()
        });
        let filter = EnvFilter::new(format!("{filter},{SAID}=off"));
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter)
    });
    let level = match flags.text("log_level_file").unwrap_or("debug") {
        "none" => None,
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        _ => Some(LevelFilter::DEBUG),
    };
    let largest = flags.number("log_file_max_bytes").and_then(|bytes| u64::try_from(bytes).ok());
    let file = folder.zip(level).and_then(|(folder, level)| {
        let file = LogFile::open(folder, largest.unwrap_or(10 << 20)).ok()?;
        let json = matches!(flags.text("log_format_file"), Some("json" | "otel"));
        let ours = filter::Targets::new().with_target("tidemill", level);
        Some(FileLayer { file: Mutex::new(file), json }.with_filter(ours))
    });
    // A layer that is not there would turn the others off.
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
    layers.extend(stderr.map(|layer| Box::new(layer) as Box<_>));
    layers.extend(file.map(|layer| Box::new(layer) as Box<_>));
    if !layers.is_empty() {
        tracing_subscriber::registry().with(layers).init();
    }
}

/// A file that begins anew when it is full; the full ones stay as `dbt.log.1`, `dbt.log.2`, ….
struct LogFile {
    path: PathBuf,
    largest: u64,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(folder: &Path, largest: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join("dbt.log");
        let file = File::options().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut log = LogFile { path, largest, file, size };
        let begin = format!(
            "============================== {} | {} ==============================\n",
            chrono::Local::now().format("%H:%M:%S%.6f"),
            std::process::id()
        );
        log.write(&begin);
        Ok(log)
    }

    /// Writes a line. A full disk costs the log and nothing else.
    fn write(&mut self, line: &str) {
        let length = line.len() as u64;
        // As with dbt, 0 means no limit.
        if self.largest > 0 && self.size > 0 && self.size + length > self.largest {
            self.turn();
        }
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.size += length;
        }
    }

    fn turn(&mut self) {
        let numbered = |number: usize| self.path.with_extension(format!("log.{number}"));
        for number in (1..KEPT).rev() {
            let _ = std::fs::rename(numbered(number), numbered(number + 1));
        }
        let _ = std::fs::rename(&self.path, numbered(1));
        if let Ok(file) = File::options().create(true).append(true).open(&self.path) {
            self.file = file;
            self.size = 0;
        }
    }
}

struct FileLayer {
    file: Mutex<LogFile>,
    json: bool,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for FileLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let message = format!("{}{}", text.message, text.fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let line = if self.json {
            let info = serde_json::json!({
                "level": level,
                "msg": message,
                "name": event.metadata().target(),
                "pid": std::process::id(),
                "thread": thread(),
                "ts": crate::artifacts::timestamp(chrono::Utc::now()),
            });
            format!("{}\n", serde_json::json!({"data": {"msg": text.message}, "info": info}))
        } else {
            let time = chrono::Local::now().format("%H:%M:%S%.6f");
            format!("{time} [{level:<5}] [{}]: {message}\n", thread())
        };
        let line = tidemill_core::scrub(&line);
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(&line);
    }
}

fn thread() -> String {
    match std::thread::current().name() {
        None | Some("main") => "MainThread".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// The message of an event and its other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_kept_beside_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&folder.path().join("logs"), 150).unwrap();
        for number in 0..4 {
            log.write(&format!("{number}: {}\n", "x".repeat(60)));
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join("logs").join(name));
        assert!(read("dbt.log").unwrap().starts_with("3: x"));
        assert!(read("dbt.log.1").unwrap().starts_with("1: x"));
        assert!(read("dbt.log.2").unwrap().contains("===== "));
        assert!(read("dbt.log.3").is_err());
    }
}
