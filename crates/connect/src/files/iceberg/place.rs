//! Where the files of a table are: what its metadata calls them, as objects of a store.
//!
//! Addresses in metadata are no URLs: `%` in them is a percent sign.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_objects::StoreOptions;
use tokio::runtime::Handle;

use super::metadata::Table;
use crate::files::place::{self, Object};
use crate::files::settings::Resolved;
use crate::files::{Root, avro};

/// The largest metadata file, without its compression.
const LARGEST: u64 = 1 << 30;

/// Where the files of a table are.
pub(super) struct Files {
    /// What the table is called in messages.
    pub(super) name: String,
    pub(super) handle: Handle,
    /// The store that has the table's folder, and the folder in it.
    folder: Option<(Arc<dyn ObjectStore>, Path)>,
    /// What addresses below that folder begin with.
    pub(super) location: Option<String>,
    reach: Reach,
    /// Stores by what addresses of theirs begin with.
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// Which files outside of the table's folder may be read.
enum Reach {
    /// Those of this machine.
    Machine,
    /// None.
    Nothing,
    /// Those that these options open. The longest address that a file begins with counts.
    Options(Vec<(String, StoreOptions)>),
}

impl Files {
    /// The table that the settings of a connection to files name, with its metadata file where that is
    /// named.
    ///
    /// # Errors
    /// Kind `Config` or `NotFound`.
    pub(super) fn located(
        root: &Root,
        settings: &Resolved,
        handle: &Handle,
    ) -> Result<(Files, Option<String>)> {
        let config = |message: &str| Error::new(ErrorKind::Config, message.to_owned());
        let [location] = settings.written.location.all() else {
            return Err(config(
                "`format: iceberg` takes one `location`: the folder of the table, or its metadata file",
            ));
        };
        let written = location.trim_end_matches('/');
        let (folder, file) = match is_metadata(written) {
            true => match written.rsplit_once('/') {
                Some((folder, file)) => (folder, Some(file.to_owned())),
                None => ("", Some(written.to_owned())),
            },
            false => (written, None),
        };
        // Beside a metadata file is its folder, and above that the table's.
        let above = match &file {
            Some(_) if folder == "metadata" => Some(""),
            Some(_) => folder.strip_suffix("/metadata"),
            None => Some(folder),
        };
        let top = above.unwrap_or(folder);
        let name = if top.is_empty() { written.to_owned() } else { top.to_owned() };
        let file = file.map(|file| match above {
            Some(_) => format!("metadata/{file}"),
            None => file,
        });
        let missing = || {
            Error::new(ErrorKind::NotFound, "there is no Iceberg table").with("location", location)
        };
        let local = |folder: std::path::PathBuf| -> Result<(Arc<dyn ObjectStore>, Path)> {
            let folder = folder.canonicalize().map_err(|error| missing().because(error))?;
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| {
                Error::new(ErrorKind::Io, "the folder of the table cannot be opened")
                    .with("location", location)
                    .because(error)
            })?;
            Ok((Arc::new(store) as Arc<dyn ObjectStore>, Path::default()))
        };
        let path = |top: &str| {
            Path::parse(top.trim_start_matches("./").trim_matches('/'))
                .map_err(|error| config("`location` is not a folder of the store").because(error))
        };
        let (store, reach) = match root {
            _ if tidemill_objects::is_address(top) => {
                let store = tidemill_objects::open(top, &StoreOptions::new())?.store;
                let options = vec![(String::new(), StoreOptions::new())];
                ((store, Path::default()), Reach::Options(options))
            }
            Root::Folder(project) => {
                let folder = project.join(top.strip_prefix("file://").unwrap_or(top));
                (local(folder)?, Reach::Machine)
            }
            Root::Store(store) => ((store.store.clone(), path(top)?), Reach::Nothing),
            Root::Tree(tree) => ((tree.opened().store, path(top)?), Reach::Nothing),
            Root::Web { .. } => {
                return Err(config(
                    "an Iceberg table cannot be read from a web server, which lists no files",
                ));
            }
        };
        // Without the table's folder, files are where the metadata says.
        let files = Files {
            name,
            handle: handle.clone(),
            folder: Some(store),
            location: None,
            reach,
            opened: Mutex::default(),
        };
        Ok((files, file))
    }

    /// A table of a catalog, whose files are where its metadata says; each option counts for the
    /// addresses that begin so.
    pub(super) fn of_catalog(
        name: String,
        handle: &Handle,
        options: Vec<(String, StoreOptions)>,
    ) -> Files {
        Files {
            name,
            handle: handle.clone(),
            folder: None,
            location: None,
            reach: Reach::Options(options),
            opened: Mutex::default(),
        }
    }

    pub(super) fn damaged(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Data, message).with("table", &self.name)
    }

    /// The table by its metadata file: the one that is named, else the newest one.
    ///
    /// # Errors
    /// Kind `NotFound` where there is none; `Config` where it cannot be told which is the newest.
    pub(super) fn table(&mut self, file: Option<String>) -> Result<Table> {
        let Some((store, folder)) = &self.folder else {
            return Err(Error::new(ErrorKind::Internal, "a table of a catalog has no folder"));
        };
        let named = file.is_some();
        let path = match file {
            Some(file) => below(folder, &file).map_err(|error| self.no_file(&file, error))?,
            None => self.newest(store, folder)?,
        };
        let read = async { store.get(&path).await?.bytes().await };
        let bytes = self.handle.block_on(read).map_err(|error| {
            tidemill_objects::explain(
                error,
                "the metadata of the table cannot be read",
                path.as_ref(),
            )
        })?;
        let table = Table::parse(&plain(bytes.to_vec()).map_err(|error| {
            self.damaged("the metadata of the table is damaged").because(error)
        })?)
        .map_err(|error| error.with("table", &self.name).with("file", &path))?;
        // A metadata file that is not in `metadata` does not say where the table is.
        if !named || path.as_ref().contains("metadata/") {
            self.location = Some(table.location.trim_end_matches('/').to_owned());
        }
        Ok(table)
    }

    /// The newest metadata file: the one that `version-hint.text` names or one after it, else the one
    /// with the largest number.
    fn newest(&self, store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<Path> {
        let metadata =
            below(folder, "metadata").map_err(|error| self.no_file("metadata", error))?;
        let listed = async { store.list(Some(&metadata)).try_collect::<Vec<_>>().await };
        let listed = self.handle.block_on(listed).map_err(|error| {
            let what = "the metadata of the table cannot be listed";
            tidemill_objects::explain(error, what, metadata.as_ref())
        })?;
        let names: Vec<&str> =
            listed.iter().filter_map(|object| object.location.filename()).collect();
        let hinted = match names.contains(&"version-hint.text") {
            true => {
                let hint = Path::parse(format!("{metadata}/version-hint.text"));
                let hint = hint.map_err(|error| self.no_file("version-hint.text", error))?;
                let read = async { store.get(&hint).await?.bytes().await };
                let bytes = self.handle.block_on(read).map_err(|error| {
                    let what = "the metadata of the table cannot be read";
                    tidemill_objects::explain(error, what, hint.as_ref())
                })?;
                Some(String::from_utf8_lossy(&bytes).trim().to_owned())
            }
            false => None,
        };
        match newest(&names, hinted.as_deref()) {
            Newest::File(name) => Path::parse(format!("{metadata}/{name}"))
                .map_err(|error| self.no_file(name, error)),
            Newest::Several(one, other) => Err(Error::new(
                ErrorKind::Config,
                "it cannot be told which metadata file of the table is the newest",
            )
            .with("table", &self.name)
            .with("files", format!("{one}, {other}"))
            .with(
                "help",
                "write the file as `location`, or read the table through its catalog (`type: iceberg`)",
            )),
            Newest::None => Err(Error::new(ErrorKind::NotFound, "there is no Iceberg table")
                .with("location", &self.name)
                .with("help", "`location` is the folder that has the table's folder `metadata`")),
        }
    }

    fn no_file(&self, name: &str, error: object_store::path::Error) -> Error {
        self.damaged("the metadata of the table names a file that cannot be one")
            .with("file", name)
            .because(error)
    }

    /// Which store has a file, and as what.
    fn find(&self, address: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let outside = || {
            Error::new(
                ErrorKind::Unsupported,
                "the table has files outside of its folder, which this connection does not reach",
            )
            .with("table", &self.name)
            .with("file", address)
        };
        if let (Some((store, folder)), Some(location)) = (&self.folder, &self.location) {
            let rest = stripped(address, location).and_then(|rest| rest.strip_prefix('/'));
            if let Some(rest) = rest {
                let path = below(folder, rest).map_err(|error| self.no_file(address, error))?;
                return Ok((Arc::clone(store), path));
            }
        }
        let (base, key) = match address.split_once("://") {
            Some(("file", path)) => ("", path),
            Some((scheme, rest)) => {
                let end = rest.find('/').ok_or_else(outside)?;
                address.split_at(scheme.len() + 3 + end)
            }
            None => ("", address.strip_prefix("file:").unwrap_or(address)),
        };
        let key = Path::parse(key.trim_start_matches('/'))
            .map_err(|error| self.no_file(address, error))?;
        let store: Arc<dyn ObjectStore> = match (&self.reach, base) {
            (Reach::Machine, "") => Arc::new(LocalFileSystem::new()),
            (Reach::Options(options), base) if !base.is_empty() => {
                let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                let fitting = options.iter().filter(|(start, _)| address.starts_with(start));
                let (start, options) =
                    fitting.max_by_key(|(start, _)| start.len()).ok_or_else(outside)?;
                let key = format!("{base} {start}");
                match opened.get(&key) {
                    Some(store) => Arc::clone(store),
                    None => {
                        let store = tidemill_objects::open(base, options)?.store;
                        opened.insert(key, Arc::clone(&store));
                        store
                    }
                }
            }
            _ => return Err(outside()),
        };
        Ok((store, key))
    }

    /// The file as an object.
    pub(super) async fn object(&self, address: &str) -> Result<Object> {
        let (store, location) = self.find(address)?;
        let meta = store.head(&location).await.map_err(|error| {
            tidemill_objects::explain(error, "a file of the table cannot be read", address).with(
                "help",
                "if it was removed since the last load, --full-refresh reads the table as it is",
            )
        })?;
        // A store below a prefix names the object with it.
        let meta = ObjectMeta { location, ..meta };
        Ok(Object { store, meta, handle: self.handle.clone() })
    }

    /// Hands each record of an Avro file to `each`, with the header of the file.
    pub(super) fn each_record(
        &self,
        address: &str,
        each: &mut dyn FnMut(&avro::values::Header, &avro::values::Record) -> Result<()>,
    ) -> Result<()> {
        let object = self.handle.block_on(self.object(address))?;
        let failed = |error: std::io::Error| {
            self.damaged("a manifest of the table is damaged").with("file", address).because(error)
        };
        let source = place::Place::Object(Arc::new(object)).open().map_err(failed)?;
        let source = BufReader::with_capacity(256 << 10, source);
        // The error of `each` is not one of the file.
        let mut given = None;
        let read = avro::values::each_record(source, &mut |header, record| {
            each(header, record).map_err(|error| {
                given = Some(error);
                std::io::Error::other("given")
            })
        });
        match given {
            Some(error) => Err(error.with("file", address)),
            None => read.map_err(failed),
        }
    }
}

/// A path below a folder.
fn below(folder: &Path, path: &str) -> Result<Path, object_store::path::Error> {
    match folder.as_ref() {
        "" => Path::parse(path),
        folder => Path::parse(format!("{folder}/{path}")),
    }
}

/// What stands behind the start of an address, whatever of its spellings the scheme has.
fn stripped<'a>(address: &'a str, start: &str) -> Option<&'a str> {
    fn split(address: &str) -> (&str, &str) {
        match address.split_once("://") {
            Some(("s3a" | "s3n", rest)) => ("s3", rest),
            Some(("gcs", rest)) => ("gs", rest),
            Some(("file", rest)) => ("", rest),
            Some((scheme, rest)) => (scheme, rest),
            // `file:/a` of Hadoop, or a path.
            None => ("", address.strip_prefix("file:").unwrap_or(address)),
        }
    }
    let ((own, rest), (scheme, start)) = (split(address), split(start));
    if own != scheme { None } else { rest.strip_prefix(start) }
}

/// Whether this names a metadata file.
pub(in crate::files) fn is_metadata(location: &str) -> bool {
    location.ends_with(".metadata.json") || location.ends_with(".metadata.json.gz")
}

/// Which file is the newest.
#[derive(Debug, PartialEq)]
enum Newest<'a> {
    File(&'a str),
    Several(&'a str, &'a str),
    None,
}

/// The newest metadata file of these; `hint` is what `version-hint.text` says.
fn newest<'a>(names: &[&'a str], hint: Option<&str>) -> Newest<'a> {
    let files = names.iter().copied().filter(|name| is_metadata(name));
    let hinted: Option<u64> = hint.and_then(|hint| hint.parse().ok());
    if let (Some(hint), None) = (hint, hinted) {
        // Some writers put the name there.
        let is = |name: &&str| *name == hint || stem(name) == stem(hint);
        return files.clone().find(is).map_or(Newest::None, Newest::File);
    }
    // The hint is written behind the file, and may be late.
    let mut numbered: Vec<(u64, &str)> = files
        .filter_map(|name| {
            let number = number(name, hinted.is_some())?;
            hinted.is_none_or(|hint| number >= hint).then_some((number, name))
        })
        .collect();
    numbered.sort_unstable();
    match numbered.as_slice() {
        [] => Newest::None,
        [.., (one, first), (other, second)] if one == other => Newest::Several(first, second),
        [.., (_, name)] => Newest::File(name),
    }
}

/// The name without its ending.
fn stem(name: &str) -> &str {
    let name = name.trim_end_matches(".gz");
    let name = name.strip_suffix(".metadata.json").unwrap_or(name);
    name.strip_suffix(".gz").unwrap_or(name)
}

/// `v12.metadata.json` and `00012-<uuid>.metadata.json`; only the first where there is a hint.
fn number(name: &str, hinted: bool) -> Option<u64> {
    let stem = stem(name);
    if let Some(version) = stem.strip_prefix('v').and_then(|version| version.parse().ok()) {
        return Some(version);
    }
    if hinted {
        return stem.parse().ok();
    }
    stem.split('-').next()?.parse().ok()
}

/// Without its compression, if it has one.
fn plain(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).take(LARGEST + 1).read_to_end(&mut out)?;
    match out.len() as u64 > LARGEST {
        true => Err(std::io::Error::other("it has more than 1 GiB")),
        false => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_metadata_is_found() {
        let hadoop =
            ["v1.metadata.json", "v2.metadata.json", "v10.gz.metadata.json", "version-hint.text"];
        assert_eq!(newest(&hadoop, Some("10")), Newest::File("v10.gz.metadata.json"));
        // A hint that is late.
        assert_eq!(newest(&hadoop, Some("2")), Newest::File("v10.gz.metadata.json"));
        assert_eq!(newest(&hadoop, Some("11")), Newest::None);
        let catalog =
            ["00000-a.metadata.json", "00002-c.metadata.json", "00001-b.metadata.json", "x.avro"];
        assert_eq!(newest(&catalog, None), Newest::File("00002-c.metadata.json"));
        assert_eq!(newest(&catalog, Some("00001-b")), Newest::File("00001-b.metadata.json"));
        let twice = ["00002-c.metadata.json", "00002-d.metadata.json"];
        assert_eq!(newest(&twice, None), Newest::Several(twice[0], twice[1]));
        assert_eq!(newest(&[], None), Newest::None);
    }

    #[test]
    fn addresses_below_a_folder() {
        for (address, start, rest) in [
            ("s3://b/t/data/x%20y", "s3://b/t", Some("/data/x%20y")),
            ("s3a://b/t/x", "s3://b/t", Some("/x")),
            ("file:/a/t/x", "file:///a/t", Some("/x")),
            ("/a/t/x", "file:///a/t", Some("/x")),
            ("gs://b/t/x", "s3://b/t", None),
            ("s3://other/t/x", "s3://b/t", None),
        ] {
            assert_eq!(stripped(address, start), rest, "{address}");
        }
    }

    #[test]
    fn what_a_connection_does_not_reach() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = Files::of_catalog(
            "t".into(),
            runtime.handle(),
            vec![("s3://lake/".into(), StoreOptions::new())],
        );
        for address in ["file:///etc/passwd", "/etc/passwd", "s3://other/x"] {
            let error = files.find(address).err().unwrap().report();
            assert!(error.contains("outside of its folder"), "{error}");
        }
        let (_, path) = files.find("s3://lake/a=x%20y/1.parquet").unwrap();
        assert_eq!(path.as_ref(), "a=x%20y/1.parquet");
    }
}
