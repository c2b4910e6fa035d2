//! `tidemill deps`: the packages that a project names, put into `dbt_packages`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tidemill_core::{Diagnostic, Error, ErrorKind};
use tidemill_packages::{
    DEFAULT_HUB, Declared, Installer, Lock, Locked, ProjectFile, ReadProject, Request, Source,
};
use tidemill_project::{DBT_VERSION, NamedPackages, SourceFile, named_packages, yaml};

use crate::args::{Deps, Global, PackageSource};
use crate::output::Output;

const LOCK: &str = "package-lock.yml";

/// Chooses, locks and installs. The lock is used where it fits what the project names; the install
/// folder is replaced whole.
pub(crate) fn run(global: &Global, args: &Deps, output: &Output) -> Result<i32> {
    let root = crate::session::project_dir(global.project_dir.as_deref())?;
    let root = root.canonicalize().unwrap_or(root);
    let vars = match &global.vars {
        Some(text) => tidemill_project::parse_vars(text)?,
        None => Map::new(),
    };
    if let Some(package) = &args.add_package {
        add(&root, package, args.source, output)?;
    }
    let named = named_packages(&root, &vars, Some(crate::session::version_check(&global.flags)))?;
    let packages = declared(&named)?;
    if packages.is_empty() {
        output.say("no packages are named in packages.yml or dependencies.yml");
        return Ok(0);
    }
    for package in &packages {
        if let Source::Git { url, revision: None, warn_unpinned: true, .. } = &package.source {
            output.say(
                Diagnostic::warning(
                    "unpinned-package",
                    format!("the package `{url}` is taken as its repository is at the moment"),
                )
                .hint("name a `revision:`, or `warn-unpinned: false`"),
            );
        }
    }
    tidemill_packages::install_tls();
    let request = Request {
        install: root.join(&named.install_path),
        project: root.clone(),
        name: named.project.clone(),
        packages,
        hub: std::env::var("DBT_PACKAGE_HUB_URL")
            .ok()
            .filter(|url| !url.is_empty())
            .unwrap_or_else(|| DEFAULT_HUB.to_owned()),
        dbt_version: DBT_VERSION.to_owned(),
    };
    let reader = Reader { vars };
    let installer = Installer::new(&request, &reader)?;
    let locked = match locked(&root, &request, args.upgrade)? {
        Some(locked) => locked,
        None => {
            let chosen = installer.resolve()?;
            let lock =
                Lock { sha1_hash: tidemill_packages::hash(&request.packages), packages: chosen };
            let path = root.join(LOCK);
            replace(&path, &yaml::write(&lock.to_json(), true))?;
            output.say(format!("  locked     {} in {LOCK}", packages_in(lock.packages.len())));
            lock.packages
        }
    };
    if args.lock {
        return Ok(0);
    }
    let installed = installer.install(&locked)?;
    let width = installed.iter().map(|package| package.name.len()).max().unwrap_or(0);
    for package in &installed {
        let newer = match &package.newer {
            Some(newer) => format!("  ({newer} is there)"),
            None => String::new(),
        };
        output.say(format!("  installed  {:width$}  {}{newer}", package.name, package.which));
    }
    output.say(format!("{} in {}", packages_in(installed.len()), named.install_path));
    Ok(0)
}

fn packages_in(count: usize) -> String {
    crate::output::plural(count as u64, "package", "packages")
}

/// The entries of a project, with the mistake of each at its place.
fn declared(named: &NamedPackages) -> Result<Vec<Declared>> {
    let mut diagnostics = tidemill_core::Diagnostics::new();
    let mut found = Vec::new();
    for entry in &named.entries {
        match Declared::parse(&entry.rendered) {
            Ok(declared) => found.push(declared.written_as(&entry.written)),
            Err(error) => diagnostics
                .push(Diagnostic::error("package", error.report()).at(entry.position.clone())),
        }
    }
    if diagnostics.has_errors() { Err(diagnostics.into()) } else { Ok(found) }
}

/// The lock's packages, when it was made for what the project names.
fn locked(root: &Path, request: &Request, upgrade: bool) -> Result<Option<Vec<Locked>>> {
    let path = root.join(LOCK);
    if upgrade || !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {LOCK}"))?;
    let Some(lock) = Lock::parse(&yaml::parse(&SourceFile::new(LOCK, text)).root.to_json()) else {
        return Ok(None);
    };
    if lock.sha1_hash != tidemill_packages::hash(&request.packages) {
        return Ok(None);
    }
    // An address that reads a secret stands in the lock as it was written.
    let rendered = |locked: Locked| {
        let text = locked.declared.to_string();
        let known =
            request.packages.iter().find(|known| known.written_address() == Some(text.as_str()));
        match known {
            Some(known) => locked.with_address(known),
            None => locked,
        }
    };
    Ok(Some(lock.packages.into_iter().map(rendered).collect()))
}

/// Reads the project files of packages with the project's vars.
struct Reader {
    vars: Map<String, Value>,
}

impl ReadProject for Reader {
    fn read(&self, folder: &Path) -> tidemill_core::Result<ProjectFile> {
        let named = named_packages(folder, &self.vars, None).map_err(|diagnostics| {
            Error::new(ErrorKind::Config, "its project file cannot be used").because(diagnostics)
        })?;
        let packages = named
            .entries
            .iter()
            .map(|entry| Ok(Declared::parse(&entry.rendered)?.written_as(&entry.written)))
            .collect::<tidemill_core::Result<_>>()?;
        Ok(ProjectFile { name: named.project, packages })
    }
}

/// `--add-package name@version`: an entry more in `packages.yml`, in the place of one of the same
/// name. A new one is written behind the others, and what else stands in the file stays; to take
/// one's place the file is written anew.
fn add(root: &Path, package: &str, source: PackageSource, output: &Output) -> Result<()> {
    let (name, version) = match package.rsplit_once('@') {
        // The `@` of `git@github.com:…` is no version's.
        Some((name, version)) if !version.contains([':', '/']) => (name, Some(version)),
        _ => (package, None),
    };
    let (key, version_key) = match source {
        PackageSource::Hub => ("package", "version"),
        PackageSource::Git => ("git", "revision"),
        PackageSource::Local => ("local", "version"),
    };
    let mut entry = Map::new();
    entry.insert(key.to_owned(), name.into());
    match (source, version) {
        (PackageSource::Local, Some(_)) => bail!("a local package has no version"),
        (PackageSource::Hub, None) => bail!(
            "a package of the hub needs a version: `--add-package {name}@1.0.0` or \
             `--add-package {name}@\">=1.0.0,<2.0.0\"`"
        ),
        (_, Some(version)) => {
            let value = match version.contains(',') {
                true => json!(version.split(',').map(str::trim).collect::<Vec<_>>()),
                false => json!(version),
            };
            entry.insert(version_key.to_owned(), value);
        }
        (_, None) => {}
    }
    Declared::parse(&Value::Object(entry.clone()))?;
    let path: PathBuf = match root.join("dependencies.yml") {
        path if path.is_file() && !root.join("packages.yml").is_file() => path,
        _ => root.join("packages.yml"),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let file = SourceFile::new(path.file_name().unwrap_or_default(), text.clone());
    let parsed = yaml::parse(&file);
    if parsed.diagnostics.has_errors() {
        return Err(parsed.diagnostics.into());
    }
    let mut content = match parsed.root.to_json() {
        Value::Null => Map::new(),
        Value::Object(map) => map,
        _ => bail!("`{}` must hold a mapping with `packages:`", file.shown()),
    };
    let same = |known: &Value| {
        known.get(key).and_then(Value::as_str).is_some_and(|known| known.eq_ignore_ascii_case(name))
    };
    let list = content.entry("packages").or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else {
        bail!("`packages` of `{}` must be a list", file.shown());
    };
    let fresh = !list.iter().any(same);
    list.retain(|known| !same(known));
    list.push(Value::Object(entry.clone()));
    let text = match appended(&text, &parsed.root, &entry).filter(|_| fresh) {
        Some(text) => text,
        None => yaml::write(&Value::Object(content), false),
    };
    replace(&path, &text)?;
    output.say(format!("  added      {package} to {}", file.shown()));
    Ok(())
}

/// The file's text with an entry behind the last of a list that ends it.
fn appended(text: &str, root: &yaml::Yaml, entry: &Map<String, Value>) -> Option<String> {
    let last = root.entries().last().filter(|last| last.key == "packages")?;
    let item = last.value.items().last()?;
    let line = text.get(..item.start)?.rfind('\n').map_or(0, |at| at + 1);
    let indent = text.get(line..)?.find('-').filter(|dash| {
        text[line..line + dash].chars().all(|c| c == ' ') && line + dash < item.start
    })?;
    let written = yaml::write(&json!([entry]), false);
    let mut out = text.trim_end().to_owned();
    out.push('\n');
    for line in written.lines() {
        out.push_str(&format!("{:indent$}{line}\n", ""));
    }
    // Only if it is read as it was meant.
    let read = yaml::parse(&SourceFile::new("packages.yml", out.clone()));
    let count = read.root.get("packages").map_or(0, |list| list.items().len());
    (!read.diagnostics.has_errors() && count == last.value.items().len() + 1).then_some(out)
}

/// Writes a file whole or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("yml.new");
    std::fs::write(&fresh, text)
        .and_then(|()| std::fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
