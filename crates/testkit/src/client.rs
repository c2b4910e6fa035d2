//! The command-line client of a database.

use std::io::Write;
use std::process::{Command, Stdio};

/// What the client prints for statements that come on its standard input, and whether it was content.
///
/// # Panics
/// When it cannot be run.
pub(crate) fn fed(client: &mut Command, sql: &str) -> (String, bool) {
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    // Statements may be longer than an argument; the client ends when it has read them. What it says is read
    // meanwhile, so that neither waits for the other.
    let output = std::thread::scope(|scope| {
        if let Some(mut input) = input {
            scope.spawn(move || {
                let _ = input.write_all(sql.as_bytes());
            });
        }
        child.wait_with_output().unwrap()
    });
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).trim_end().to_owned(), output.status.success())
}
