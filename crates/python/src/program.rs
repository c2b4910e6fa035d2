//! One program from its start to its end.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use serde::Deserialize;
use tidemill_core::{
    BatchStream, Cancellation, Description, Engine, Error, ErrorKind, QueryContext, Result,
    ResultExt,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::Interpreter;
use crate::rows;
use crate::wire::{self, Request, answer};

const BOOTSTRAP: &str = include_str!("tidemill.py");
/// Batches that wait in either direction.
const WAITING: usize = 2;
/// Lines of the program's output that an error without a traceback shows.
const LAST_LINES: usize = 12;
/// How long a program that is done may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// What is run.
#[derive(Debug, Clone, Default)]
pub struct Code {
    /// The model's code with the object `dbt` below it.
    pub text: String,
    /// The model's file, relative to the project, as tracebacks show it.
    pub file: String,
    /// The model's name.
    pub name: String,
    /// The project's folder: where it runs, and what it can import from.
    pub folder: PathBuf,
    /// `pandas`, `polars` or `pyarrow`: what `dbt.ref()` gives; `None` for rows that are not read
    /// yet.
    pub dataframe: Option<String>,
    /// How long it may run.
    pub timeout: Option<Duration>,
}

/// A program that runs.
pub struct Running {
    /// What it gives.
    pub output: Output,
    /// What it has asked so far; complete when its rows have ended.
    pub asked: Arc<Mutex<Vec<Description>>>,
}

/// What a program gives.
pub enum Output {
    /// The rows of this query.
    Query(String),
    /// Its own rows.
    Rows(BatchStream),
}

/// Starts a program and waits until it is known what it gives.
///
/// # Errors
/// `Config` when Python or a library is missing, or the code fails; `Resources` when it takes
/// longer than it may.
pub async fn start(
    code: Code,
    interpreter: Interpreter,
    engine: Arc<dyn Engine>,
    context: QueryContext,
) -> Result<Running> {
    let mut child = spawn(&interpreter, &code)?;
    let (stdin, stdout, stderr) =
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
            _ => return Err(Error::new(ErrorKind::Internal, "the program has no pipes")),
        };
    let deadline = code.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let timeout = code.timeout.unwrap_or_default();
    let child = Arc::new(Mutex::new(child));
    let cancel = context.cancel.child();
    let process = Process { child: child.clone(), cancel: cancel.clone() };
    let asked: Arc<Mutex<Vec<Description>>> = Arc::default();
    let (said, mut heard) = mpsc::channel(WAITING);
    let last_lines: LastLines = Arc::default();
    let (name, kept) = (code.name.clone(), last_lines.clone());
    let (open, closed) = std_mpsc::sync_channel::<Never>(1);
    std::thread::spawn(move || {
        listen(stderr, &name, &kept);
        drop(open);
    });
    let driver = Driver {
        code,
        interpreter,
        engine,
        context: QueryContext { cancel, ..context },
        runtime: Handle::current(),
        child,
        stdin,
        asked: asked.clone(),
        last_lines,
        queries: HashMap::new(),
        schema: None,
    };
    std::thread::spawn(move || driver.run(BufReader::new(stdout), closed, &said));

    let output = match next(&mut heard, deadline, timeout).await {
        Some(Ok(Said::Query(sql))) => {
            // It has nothing more to do; that it ends well is waited for.
            while let Some(more) = next(&mut heard, deadline, timeout).await {
                more?;
            }
            Output::Query(sql)
        }
        Some(Ok(Said::Columns(schema))) => {
            let state = (heard, process);
            let batches = futures::stream::unfold(Some(state), move |state| async move {
                let (mut heard, process) = state?;
                match next(&mut heard, deadline, timeout).await {
                    Some(Ok(Said::Batch(batch))) => Some((Ok(batch), Some((heard, process)))),
                    Some(Ok(Said::Query(_) | Said::Columns(_))) => {
                        let error = Error::new(ErrorKind::Internal, "the program gave two results");
                        Some((Err(error), None))
                    }
                    Some(Err(error)) => Some((Err(error), None)),
                    None => None,
                }
            });
            Output::Rows(BatchStream::new(schema, batches))
        }
        Some(Ok(Said::Batch(_))) | None => {
            return Err(Error::new(ErrorKind::Internal, "the program gave nothing"));
        }
        Some(Err(error)) => return Err(error),
    };
    Ok(Running { output, asked })
}

/// What the program says next; an error when its time is over.
async fn next(
    heard: &mut mpsc::Receiver<Result<Said>>,
    deadline: Option<tokio::time::Instant>,
    timeout: Duration,
) -> Option<Result<Said>> {
    let Some(deadline) = deadline else { return heard.recv().await };
    tokio::time::timeout_at(deadline, heard.recv()).await.unwrap_or_else(|_| {
        Some(Err(Error::new(
            ErrorKind::Resources,
            format!(
                "the Python model ran longer than its `timeout` of {} seconds",
                timeout.as_secs()
            ),
        )))
    })
}

fn spawn(interpreter: &Interpreter, code: &Code) -> Result<Child> {
    let mut command = Command::new(&interpreter.program);
    command
        .args(["-X", "utf8", "-c", "import sys; exec(compile(sys.argv[1], '<tidemill>', 'exec'))"])
        .arg(BOOTSTRAP)
        .current_dir(&code.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    {
        // A group of its own: Ctrl-C reaches us alone, and we end all that it has started.
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
    }
    command.spawn().map_err(|error| {
        let program = interpreter.program.display();
        Error::new(
            ErrorKind::Config,
            format!("Python cannot be started: `{program}`, which {} names", interpreter.chosen_by),
        )
        .with("hint", "install Python 3.9 or later, or set TIDEMILL_PYTHON to one")
        .because(error)
    })
}

/// The process; dropping it ends it.
struct Process {
    child: Arc<Mutex<Child>>,
    cancel: Cancellation,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.cancel.cancel();
        end(&mut lock(&self.child));
    }
}

/// Ends a process with all that it has started, unless it has ended.
fn end(child: &mut Child) {
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

/// How a process ended that has closed its pipes; `None` for one that goes on all the same.
fn ended_by_itself(child: &Mutex<Child>) -> Option<ExitStatus> {
    for _ in 0..10_000 {
        if let Ok(Some(status)) = lock(child).try_wait() {
            return Some(status);
        }
        std::thread::yield_now();
    }
    None
}

/// Nothing is ever sent: what is waited for is the end.
#[derive(PartialEq)]
enum Never {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

/// Keeps what the program prints in the log.
fn listen(stderr: impl std::io::Read, name: &str, last: &Mutex<VecDeque<String>>) {
    let mut lines = BufReader::new(stderr);
    let mut bytes = Vec::new();
    while lines.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        tracing::debug!(model = name, line, "python");
        let mut last = lock(last);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
        bytes.clear();
    }
}

/// What the thread that talks to the program passes on.
enum Said {
    Query(String),
    Columns(SchemaRef),
    Batch(RecordBatch),
}

/// An open query of the program.
struct Open {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch>>,
    pieces: VecDeque<Vec<u8>>,
    reading: tokio::task::AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Talks to the program, on a thread of its own.
struct Driver {
    code: Code,
    interpreter: Interpreter,
    engine: Arc<dyn Engine>,
    context: QueryContext,
    runtime: Handle,
    child: Arc<Mutex<Child>>,
    stdin: ChildStdin,
    asked: Arc<Mutex<Vec<Description>>>,
    last_lines: LastLines,
    queries: HashMap<u32, Open>,
    schema: Option<SchemaRef>,
}

impl Driver {
    fn run(
        mut self,
        mut stdout: BufReader<ChildStdout>,
        closed: std_mpsc::Receiver<Never>,
        said: &mpsc::Sender<Result<Said>>,
    ) {
        let ended = self.talk(&mut stdout, said);
        self.queries.clear();
        let child = self.child.clone();
        // It closes its standard error when it ends.
        let closed = || closed.recv_timeout(GRACE) == Err(std_mpsc::RecvTimeoutError::Disconnected);
        match &ended {
            Ok(true) => {
                // It has said everything; what it does at its exit is left to it for a moment.
                drop(self.stdin);
                closed();
                end(&mut lock(&child));
            }
            Ok(false) => {
                let status = closed().then(|| ended_by_itself(&child)).flatten();
                end(&mut lock(&child));
                let lines = lock(&self.last_lines).iter().cloned().collect::<Vec<_>>().join("\n");
                let how =
                    status.map_or("it closed its pipes".to_owned(), |status| status.to_string());
                let error = Error::new(
                    ErrorKind::Config,
                    format!("Python ended in the middle of the model ({how})"),
                )
                .with("file", &self.code.file)
                .with("python", self.interpreter.program.display());
                let error = match lines.is_empty() {
                    true => error,
                    false => error.because(lines),
                };
                let _ = said.blocking_send(Err(error));
            }
            Err(_) => end(&mut lock(&child)),
        }
        if let Err(error) = ended {
            let _ = said.blocking_send(Err(error));
        }
    }

    /// Answers until the program is done (`true`), or has gone (`false`).
    fn talk(
        &mut self,
        stdout: &mut BufReader<ChildStdout>,
        said: &mpsc::Sender<Result<Said>>,
    ) -> Result<bool> {
        let begin = serde_json::json!({
            "code": self.code.text,
            "file": self.code.file,
            "name": self.code.name,
            "folder": self.code.folder,
            "dataframe": self.code.dataframe,
        });
        let mut queries = 0;
        if self.say(answer::BEGIN, begin.to_string().as_bytes()).is_err() {
            return Ok(false);
        }
        loop {
            let request = wire::read(stdout)
                .or_error(ErrorKind::Internal, "the program's answer is not understood")?;
            let told = match request {
                None => return Ok(false),
                Some(Request::Done) => return Ok(true),
                Some(Request::Query(sql)) => {
                    queries += 1;
                    match self.open(queries, &sql) {
                        Ok(bytes) => self.say(answer::SCHEMA, &bytes),
                        Err(error) => self.say(answer::ERROR, error.report().as_bytes()),
                    }
                }
                Some(Request::Next(number)) => match self.piece(number) {
                    Ok(Some(bytes)) => self.say(answer::BATCH, &bytes),
                    Ok(None) => self.say(answer::END, &[]),
                    Err(error) => self.say(answer::ERROR, error.report().as_bytes()),
                },
                Some(Request::Close(number)) => {
                    self.queries.remove(&number);
                    Ok(())
                }
                Some(Request::ResultQuery(sql)) => {
                    if said.blocking_send(Ok(Said::Query(sql))).is_err() {
                        return Ok(true);
                    }
                    Ok(())
                }
                Some(Request::Rows(bytes)) => {
                    for one in self.rows(&bytes)? {
                        if said.blocking_send(Ok(one)).is_err() {
                            return Ok(true);
                        }
                    }
                    Ok(())
                }
                Some(Request::Failed(text)) => return Err(self.failed(&text)),
            };
            if told.is_err() {
                return Ok(false);
            }
        }
    }

    fn say(&mut self, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
        wire::write(&mut self.stdin, kind, bytes)
    }

    /// Starts a query; its number and schema.
    fn open(&mut self, number: u32, sql: &str) -> Result<Vec<u8>> {
        let (engine, context) = (&self.engine, &self.context);
        let (description, mut stream) = self.runtime.block_on(async {
            let description = engine.describe(sql, context).await?;
            let stream = tokio::select! {
                stream = engine.query(sql, context) => stream?,
                () = context.cancel.cancelled() => {
                    return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
                }
            };
            Ok((description, stream))
        })?;
        lock(&self.asked).push(description);
        let schema = rows::plain_schema(&stream.schema);
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend(rows::schema_bytes(&schema).or_error(ErrorKind::Internal, "no Arrow schema")?);
        let (sender, batches) = mpsc::channel(WAITING);
        let reading = self.runtime.spawn(async move {
            while let Some(batch) = stream.batches.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        let reading = reading.abort_handle();
        self.queries.insert(number, Open { schema, batches, pieces: VecDeque::new(), reading });
        Ok(bytes)
    }

    /// The next rows of a query.
    fn piece(&mut self, number: u32) -> Result<Option<Vec<u8>>> {
        let Some(open) = self.queries.get_mut(&number) else {
            return Err(Error::new(ErrorKind::Internal, "there is no such query"));
        };
        loop {
            if let Some(piece) = open.pieces.pop_front() {
                return Ok(Some(piece));
            }
            match open.batches.blocking_recv() {
                Some(Ok(batch)) => {
                    for piece in rows::pieces(&batch, &open.schema) {
                        open.pieces.push_back(
                            piece.or_error(ErrorKind::Internal, "rows cannot be sent to Python")?,
                        );
                    }
                }
                Some(Err(error)) => {
                    self.queries.remove(&number);
                    return Err(error);
                }
                None => {
                    self.queries.remove(&number);
                    return Ok(None);
                }
            }
        }
    }

    /// What a part of the result holds.
    fn rows(&mut self, bytes: &[u8]) -> Result<Vec<Said>> {
        let (schema, batches) = rows::parse(bytes).map_err(|error| {
            self.wrong("what the Python model gave is not understood").because(error)
        })?;
        let mut all = Vec::with_capacity(batches.len() + 1);
        match &self.schema {
            None => {
                self.schema = Some(schema.clone());
                all.push(Said::Columns(schema));
            }
            Some(first) if first.fields() != schema.fields() => {
                let list = |schema: &SchemaRef| {
                    let fields = schema.fields().iter();
                    let fields =
                        fields.map(|field| format!("{} {}", field.name(), field.data_type()));
                    fields.collect::<Vec<_>>().join(", ")
                };
                let message = "a data frame that the model gave has other columns than the first";
                return Err(self
                    .wrong(message)
                    .with("first", list(first))
                    .with("this", list(&schema)));
            }
            Some(_) => {}
        }
        all.extend(batches.into_iter().map(Said::Batch));
        Ok(all)
    }

    fn wrong(&self, message: &str) -> Error {
        Error::new(ErrorKind::Config, message).with("file", &self.code.file)
    }

    /// What the program says about its failure, as our error.
    fn failed(&self, text: &str) -> Error {
        #[derive(Deserialize)]
        struct Failure {
            #[serde(default)]
            missing: bool,
            message: String,
            traceback: Option<String>,
            line: Option<usize>,
            hint: Option<String>,
        }
        let Ok(failure) = serde_json::from_str::<Failure>(text) else {
            return self.wrong("the Python model failed").because(text.to_owned());
        };
        let file = match failure.line {
            Some(line) => format!("{}:{line}", self.code.file),
            None => self.code.file.clone(),
        };
        let message = match failure.missing {
            true => format!("the Python model cannot run: {}", failure.message),
            false => format!("the Python model failed: {}", failure.message),
        };
        let mut error = Error::new(ErrorKind::Config, message).with("file", file);
        if failure.missing {
            error = error.with("chosen by", self.interpreter.chosen_by);
        }
        if let Some(hint) = failure.hint {
            error = error.with("hint", hint);
        }
        match failure.traceback {
            Some(traceback) => error.because(traceback),
            None => error,
        }
    }
}
