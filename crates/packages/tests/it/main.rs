//! Packages from folders, repositories, archives and a hub, all on this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_packages::{Declared, Installer, Lock, ProjectFile, ReadProject, Request, hash};

/// Reads `name:` and the JSON after `packages:` of a project file.
struct Reader;

impl ReadProject for Reader {
    fn read(&self, folder: &Path) -> Result<ProjectFile> {
        let text = fs::read_to_string(folder.join("dbt_project.yml"))
            .map_err(|error| Error::new(ErrorKind::Io, "no project file").because(error))?;
        let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let packages: Value = serde_json::from_str(of("packages:").unwrap_or("[]")).unwrap();
        Ok(ProjectFile {
            name: of("name:").unwrap().to_owned(),
            packages: packages
                .as_array()
                .unwrap()
                .iter()
                .map(Declared::parse)
                .collect::<Result<_>>()?,
        })
    }
}

struct World {
    folder: TempDir,
    hub: String,
}

impl World {
    fn new() -> Self {
        World { folder: tempfile::tempdir().unwrap(), hub: "http://127.0.0.1:9".into() }
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.folder.path().join(folder))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn request(&self, packages: &[Value]) -> Request {
        Request {
            project: self.folder.path().join("project"),
            name: "shop".into(),
            packages: packages.iter().map(|entry| Declared::parse(entry).unwrap()).collect(),
            install: self.folder.path().join("project/dbt_packages"),
            hub: self.hub.clone(),
            dbt_version: "1.12.0".into(),
        }
    }

    fn install(&self, packages: &[Value]) -> Result<Vec<String>> {
        let request = self.request(packages);
        fs::create_dir_all(&request.project).unwrap();
        let installer = Installer::new(&request, &Reader)?;
        let locked = installer.resolve()?;
        let lock = Lock { packages: locked.clone(), sha1_hash: hash(&request.packages) };
        let read = Lock::parse(&lock.to_json()).unwrap();
        assert_eq!(read.packages.len(), locked.len());
        let installed = installer.install(&read.packages)?;
        Ok(installed.iter().map(|one| format!("{} {}", one.name, one.which)).collect())
    }

    /// What stands in the project's folder, sorted.
    fn project(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path().join("project"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn installed(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.folder.path().join("project/dbt_packages").join(path)).ok()
    }
}

/// A `.tar.gz` with these files below one folder.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("package-1/{path}"), text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// Serves paths until the process ends; gives the address.
fn serve(answers: Vec<(String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let base = address.clone();
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &answers, &base);
        }
    });
    address
}

fn answer(mut stream: TcpStream, answers: &[(String, Vec<u8>)], base: &str) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match answers.iter().find(|(known, _)| known == path) {
        Some((path, body)) if path.ends_with(".json") => {
            ("200 OK", String::from_utf8_lossy(body).replace("BASE", base).into_bytes())
        }
        Some((_, body)) => ("200 OK", body.clone()),
        None => ("404 Not Found", Vec::new()),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

#[test]
fn folders_are_linked_and_repositories_are_pinned() {
    let world = World::new();
    world.write("tools/dbt_project.yml", "name: tools\n");
    world.write("repo/inner/dbt_project.yml", "name: inner\n");
    world.write("repo/inner/macros/m.sql", "one");
    world.git("repo", &["init", "--quiet"]);
    world.git("repo", &["add", "."]);
    world.git("repo", &["commit", "--quiet", "-m", "one"]);
    world.git("repo", &["tag", "v1"]);
    let first = world.git("repo", &["rev-parse", "HEAD"]);
    world.write("repo/inner/macros/m.sql", "two");
    world.git("repo", &["commit", "--quiet", "-am", "two"]);
    let url = world.folder.path().join("repo").to_string_lossy().into_owned();
    let installed = world
        .install(&[
            json!({"local": "../tools"}),
            json!({"git": url, "revision": "v1", "subdirectory": "inner"}),
        ])
        .unwrap();
    assert_eq!(
        installed,
        ["tools from ../tools".to_owned(), format!("inner revision {}", &first[..10])]
    );
    assert_eq!(world.installed("inner/macros/m.sql").as_deref(), Some("one"));
    world.write("tools/macros/new.sql", "seen at once");
    assert_eq!(world.installed("tools/macros/new.sql").as_deref(), Some("seen at once"));
    // Another revision takes the place of the first; what was only there before is gone.
    world.write("project/dbt_packages/old/dbt_project.yml", "name: old\n");
    world.install(&[json!({"git": url, "revision": "main", "subdirectory": "inner"})]).unwrap();
    assert_eq!(world.installed("inner/macros/m.sql").as_deref(), Some("two"));
    assert_eq!(world.installed("old/dbt_project.yml"), None);
    assert_eq!(world.project(), ["dbt_packages"]);
}

#[test]
fn a_mistake_leaves_what_was_installed() {
    let world = World::new();
    world.write("project/dbt_packages/old/dbt_project.yml", "name: old\n");
    world.write("tools/dbt_project.yml", "name: tools\n");
    world.write("twin/dbt_project.yml", "name: tools\n");
    world.write("empty/readme.md", "");
    world.write("self/dbt_project.yml", "name: shop\n");
    world.write("repo/dbt_project.yml", "name: inner\n");
    world.git("repo", &["init", "--quiet"]);
    world.git("repo", &["add", "."]);
    world.git("repo", &["commit", "--quiet", "-m", "one"]);
    let url = world.folder.path().join("repo").to_string_lossy().into_owned();
    for (packages, message) in [
        (vec![json!({"local": "../empty"})], "no package in `../empty`"),
        (
            vec![json!({"local": "../tools"}), json!({"local": "../twin"})],
            "the package `../twin` has the name `tools`, as `../tools` has",
        ),
        (vec![json!({"local": "../self"})], "as the project itself has"),
        (
            vec![json!({"git": url, "revision": "nowhere"})],
            "has no branch, tag or commit `nowhere`",
        ),
        (vec![json!({"git": url, "subdirectory": "../tools"})], "has no folder `../tools`"),
        (
            vec![json!({"git": url, "revision": "a"}), json!({"git": url, "revision": "b"})],
            "has no branch, tag or commit `a`",
        ),
        (vec![json!({"git": "/nowhere/at/all"})], "cannot be cloned"),
        (
            vec![json!({"package": "a/b", "version": "1.0.0"})],
            "`http://127.0.0.1:9/api/v1/a/b.json` cannot be fetched",
        ),
    ] {
        let error = world.install(&packages).unwrap_err().report();
        assert!(error.contains(message), "{message}\n--- not in:\n{error}");
        assert!(world.installed("old/dbt_project.yml").is_some());
        assert_eq!(world.project(), ["dbt_packages"]);
    }
}

#[test]
fn the_hub_gives_the_best_version_and_what_it_needs() {
    let listing = |package: &str, versions: Value| {
        (
            format!("/api/v1/{package}.json"),
            serde_json::to_vec(&json!({"name": package, "versions": versions})).unwrap(),
        )
    };
    let version = |file: &str, packages: Value| json!({"packages": packages, "downloads": {"tarball": format!("BASE/{file}")}});
    let mut world = World::new();
    world.hub = serve(vec![
        listing(
            "acme/facts",
            json!({
                "1.0.0": version("facts-1.0.0", json!([])),
                "1.2.0": version("facts-1.2.0", json!([{"package": "acme/base", "version": [">=0.1.0", "<0.3.0"]}])),
                "1.3.0": {"packages": [], "require_dbt_version": ">=2.0.0", "downloads": {"tarball": "BASE/none"}},
                "2.0.0-b1": version("none", json!([])),
            }),
        ),
        listing(
            "acme/base",
            json!({"0.1.0": version("base", json!([])), "0.2.0": version("base", json!([])), "0.3.0": version("base", json!([]))}),
        ),
        (
            "/facts-1.2.0".into(),
            archive(&[("dbt_project.yml", "name: facts\n"), ("macros/f.sql", "f")]),
        ),
        ("/base".into(), archive(&[("dbt_project.yml", "name: base\n")])),
        ("/odd".into(), b"not an archive".to_vec()),
    ]);
    let installed = world
        .install(&[
            json!({"package": "acme/facts", "version": [">=1.0.0", "<2.0.0"]}),
            json!({"package": "acme/base", "version": "<=0.2.0"}),
        ])
        .unwrap();
    assert_eq!(installed, ["facts version 1.2.0", "base version 0.2.0"]);
    assert_eq!(world.installed("facts/macros/f.sql").as_deref(), Some("f"));
    let tarball = format!("{}/base", world.hub);
    assert_eq!(
        world.install(&[json!({"tarball": tarball, "name": "base"})]).unwrap(),
        ["base from its archive"]
    );
    for (package, message) in [
        (json!({"package": "acme/none", "version": "1.0.0"}), "the hub has no package `acme/none`"),
        (
            json!({"package": "acme/facts", "version": ">=3.0.0"}),
            "no version of `acme/facts` lies in `>=3.0.0`; the newest is 1.3.0",
        ),
        (json!({"package": "acme/facts", "version": "1.3.0"}), "does not run with dbt 1.12.0"),
        (
            json!({"tarball": format!("{}/odd", world.hub), "name": "odd"}),
            "cannot be unpacked as a .tar.gz",
        ),
        (json!({"tarball": format!("{}/gone", world.hub), "name": "odd"}), "is answered with 404"),
    ] {
        let error = world.install(&[package]).unwrap_err().report();
        assert!(error.contains(message), "{message}\n--- not in:\n{error}");
    }
}
