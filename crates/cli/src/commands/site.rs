//! The documentation site of `tidemill docs`: written from the artifacts of the target folder, and served.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tidemill_docs::{Artifacts, Folder, Server, Site};

use crate::args::{DocsGenerate, DocsServe};
use crate::artifacts;
use crate::output::plural;
use crate::session::Session;

/// Where the site stands within the target folder.
const SITE: &str = "docs";

/// Writes the site from `manifest.json`, `catalog.json` and `run_results.json` of the target folder.
pub(crate) fn write(session: &Session, args: &DocsGenerate) -> Result<()> {
    let folder = session.target_path();
    let manifest = read(&folder, "manifest.json")?.unwrap_or_default();
    let catalog = if args.empty_catalog { None } else { read(&folder, "catalog.json")? };
    // A run that was stopped while it wrote is no reason to have no site.
    let run_results = artifacts::last_results(&folder);
    let readme = std::fs::read_to_string(session.root.join("README.md")).ok();
    let site = Site::distil(&Artifacts {
        manifest: &manifest,
        catalog: catalog.as_ref(),
        run_results: run_results.as_ref(),
        readme: readme.as_deref(),
    });
    let place = folder.join(SITE);
    site.write(&place)?;
    site.copy_images(&session.root, &place)?;
    write_text(&folder, "index.html", &site.signpost(SITE))?;
    if args.single_file {
        write_text(&folder, "static_index.html", &site.single_file()?)?;
    }
    session.output.say(format!(
        "documented {} in {}; `tidemill docs serve` shows it",
        plural(site.pages.len() as u64, "node", "nodes"),
        place.join("index.html").display()
    ));
    Ok(())
}

/// `tidemill docs serve`
pub(crate) fn serve(session: &Session, args: &DocsServe) -> Result<i32> {
    let mut folder = Folder::open(&session.target_path().join(SITE))?;
    if is_local(&args.host) {
        folder = folder.only_for(["localhost", "127.0.0.1", "[::1]", args.host.as_str()]);
    }
    let server = Server::bind(&args.host, args.port)?;
    let shown =
        if args.host.contains(':') { format!("[{}]", args.host) } else { args.host.clone() };
    let address = format!("http://{shown}:{}/", server.port());
    session.output.say(format!("the documentation is at {address} (Ctrl-C stops)"));
    if args.browser || (!args.no_browser && session.output.terminal) {
        open_browser(&address);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("threads could not be started")?;
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&folder));
        let interrupted = runtime.block_on(tokio::signal::ctrl_c());
        server.stop();
        // A server that broke off has nothing more to say than that.
        let _ = serving.join();
        interrupted.context("Ctrl-C cannot be waited for")
    })?;
    session.output.say("stopped");
    Ok(0)
}

/// Whether only this machine reaches the address.
fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Asks the desktop to show an address. Where there is none, the address was printed.
fn open_browser(address: &str) {
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("cmd", &["/C", "start", ""])
    } else {
        ("xdg-open", &[])
    };
    let quiet = std::process::Stdio::null;
    let started = std::process::Command::new(program)
        .args(arguments)
        .arg(address)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn();
    if let Err(error) = started {
        tracing::debug!(%error, program, "no browser was opened");
    }
}

/// An artifact of the target folder; `None` where there is none.
fn read(folder: &Path, name: &str) -> Result<Option<Value>> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let value = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not JSON; delete it", path.display()))?;
    Ok(Some(value))
}

fn write_text(folder: &Path, name: &str, text: &str) -> Result<()> {
    artifacts::write_with(folder, name, |out| out.write_all(text.as_bytes()))
}
