//! A tap as a process: started with its files, read line by line, and gone when nobody listens.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill_core::{Cancellation, Error, ErrorKind, Result, ResultExt};

use super::SingerConfig;

/// How many of its last lines on standard error a failed tap is shown with.
const LAST_LINES: usize = 12;

/// How long a line may be: one record.
const LONGEST_LINE: u64 = 64 << 20;

/// A running tap. It is killed when this is dropped.
pub(super) struct Tap {
    child: Arc<Mutex<Child>>,
    output: BufReader<ChildStdout>,
    errors: Option<JoinHandle<VecDeque<String>>>,
    program: String,
    /// Kills the tap when the user cancels.
    watch: tokio::task::JoinHandle<()>,
    cancel: Cancellation,
}

impl Tap {
    pub(super) fn start(
        config: &SingerConfig,
        arguments: &[&str],
        project: &Path,
        cancel: &Cancellation,
    ) -> Result<Tap> {
        let words = config.command.words();
        let Some((program, fixed)) = words.split_first() else {
            return Err(Error::new(ErrorKind::Config, "`command` names no program"));
        };
        let mut command = Command::new(program);
        command.args(fixed).args(arguments).current_dir(project);
        for (name, value) in &config.env {
            command.env(name, value.resolve(project)?.expose());
        }
        // Its own group, so that what it starts goes with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "the tap `{program}` is not there; install it (`pipx install {program}`), or give \
                     its path as `command`"
                ),
                _ => format!("the tap `{program}` could not be started"),
            };
            Error::new(ErrorKind::Config, hint).because(error)
        })?;
        let missing = || Error::new(ErrorKind::Internal, "a pipe of the tap is missing");
        let output = child.stdout.take().ok_or_else(missing)?;
        let errors = child.stderr.take().ok_or_else(missing)?;
        let name = program.clone();
        let errors = std::thread::spawn(move || {
            let mut last = VecDeque::new();
            for line in BufReader::new(errors).split(b'\n').map_while(std::result::Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                tracing::debug!(tap = name, "{line}");
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
            last
        });
        let child = Arc::new(Mutex::new(child));
        let (watched, stop) = (child.clone(), cancel.clone());
        // Called on a thread of the runtime's, which can wait for nothing else.
        let watch = tokio::runtime::Handle::current().spawn(async move {
            stop.cancelled().await;
            kill(&mut watched.lock().unwrap_or_else(PoisonError::into_inner));
        });
        Ok(Tap {
            child,
            output: BufReader::with_capacity(1 << 18, output),
            errors: Some(errors),
            program: program.clone(),
            watch,
            cancel: cancel.clone(),
        })
    }

    /// The next line into `line`; `false` at the end.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let read = (&mut self.output)
            .take(LONGEST_LINE)
            .read_until(b'\n', line)
            .or_error(ErrorKind::Io, "the tap's output could not be read")?;
        self.cancel.check()?;
        if read as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(Error::new(
                ErrorKind::Resources,
                format!("the tap `{}` wrote a line of more than 64 MiB", self.program),
            ));
        }
        Ok(read > 0)
    }

    /// All of its output.
    pub(super) fn text(mut self) -> Result<String> {
        let mut text = String::new();
        let read = (&mut self.output).take(LONGEST_LINE).read_to_string(&mut text);
        self.cancel.check()?;
        read.or_error(ErrorKind::Data, "the tap's output is not text")?;
        self.end()?;
        Ok(text)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// With the last lines that it said when it failed.
    pub(super) fn end(mut self) -> Result<()> {
        let status = loop {
            let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
            match status.or_error(ErrorKind::Io, "the tap was lost")? {
                Some(status) => break status,
                None => nap(),
            }
        };
        self.cancel.check()?;
        if status.success() {
            return Ok(());
        }
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let said: Vec<String> = said.into_iter().map(|line| format!("  | {line}")).collect();
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the tap `{}` failed ({status}):\n{}", self.program, said.join("\n")),
        ))
    }
}

/// Ends a tap and what it started.
fn kill(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    #[cfg(unix)]
    if let Ok(id) = i32::try_from(child.id()) {
        let group = nix::unistd::Pid::from_raw(id);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[expect(
    clippy::disallowed_methods,
    reason = "its pipes are closed: it ends now, and may be killed"
)]
fn nap() {
    std::thread::sleep(Duration::from_millis(2));
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.watch.abort();
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        kill(&mut child);
    }
}
