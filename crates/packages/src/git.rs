//! Repositories, through the `git` program: it knows the user's keys, proxies and helpers.

use std::path::Path;
use std::process::{Command, Stdio};

use tidemill_core::{Error, ErrorKind, Result};

use crate::http::shown;

/// Clones a repository into a folder and checks a revision out (the head without one). Gives the
/// commit.
pub(crate) fn check_out(url: &str, revision: Option<&str>, into: &Path) -> Result<String> {
    if url.starts_with('-') || revision.is_some_and(|revision| revision.starts_with('-')) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("`{}` is neither an address nor a revision", revision.unwrap_or(url)),
        ));
    }
    let cloned =
        git(None, &["clone", "--quiet", "--no-checkout", "--", url, &into.to_string_lossy()])?;
    if let Err(reason) = cloned {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("the repository `{}` cannot be cloned: {}", shown(url), hide(&reason, url)),
        ));
    }
    let commit = match revision {
        None => git(Some(into), &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?.ok(),
        Some(revision) => {
            let mut found = None;
            // A branch is the remote's; a tag or commit is itself.
            for name in [format!("refs/remotes/origin/{revision}"), revision.to_owned()] {
                let name = format!("{name}^{{commit}}");
                if let Ok(commit) = git(Some(into), &["rev-parse", "--verify", "--quiet", &name])? {
                    found = Some(commit);
                    break;
                }
            }
            found
        }
    };
    let Some(commit) = commit else {
        return Err(Error::new(
            ErrorKind::Config,
            match revision {
                Some(revision) => format!(
                    "the repository `{}` has no branch, tag or commit `{revision}`",
                    shown(url)
                ),
                None => format!("the repository `{}` has no commit", shown(url)),
            },
        ));
    };
    if let Err(reason) = git(Some(into), &["checkout", "--quiet", "--detach", &commit])? {
        return Err(Error::new(
            ErrorKind::Io,
            format!("commit {commit} of `{}` cannot be checked out: {reason}", shown(url)),
        ));
    }
    Ok(commit)
}

/// What git says, or why it fails.
fn git(folder: Option<&Path>, arguments: &[&str]) -> Result<std::result::Result<String, String>> {
    let mut command = Command::new("git");
    if let Some(folder) = folder {
        command.arg("-C").arg(folder);
    }
    let output = command
        .args(arguments)
        // A question would wait for ever.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "the program `git` cannot be run; packages from repositories need it",
            )
            .because(error)
        })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// Git repeats the address, with what is secret in it.
fn hide(text: &str, url: &str) -> String {
    text.replace(url, &shown(url))
}
