//! Where files are put: a folder of this machine, or a store. A name has a whole file or none.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::{ObjectStoreExt, PutPayload};
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_objects::Opened;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use crate::files::listing::object_path as location;

/// The end of the names of files that are being written.
const TEMPORARY: &str = ".tidemill-part";

/// Such a file of a process that ended long ago is removed.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// A folder, or a store.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Folder(PathBuf),
    Store(Opened),
}

/// A file that is being written. Dropped, nothing of it is there.
pub(super) enum Output {
    Local {
        file: File,
        temporary: PathBuf,
        path: PathBuf,
    },
    Remote {
        writer: Box<BufWriter>,
        store: Opened,
        name: String,
    },
    /// It is there, or given up.
    Done,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Resources,
            _ => ErrorKind::Io,
        };
        Error::new(kind, "the file cannot be written").with("file", path).because(error)
    }
}

fn refused(store: &Opened, name: &str, error: object_store::Error) -> Error {
    tidemill_objects::explain(error, "the object cannot be written", name)
        .with("store", &store.name)
}

/// Makes the names of a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

impl Place {
    /// Begins a file.
    pub(super) fn create(&self, name: &str, run: &str) -> Result<Output> {
        match self {
            Place::Folder(folder) => {
                let path = folder.join(name);
                let parent = path.parent().unwrap_or(folder).to_owned();
                fs::create_dir_all(&parent).map_err(failed(&parent))?;
                let file_name = path.file_name().unwrap_or_default().to_string_lossy();
                let start = format!(".{file_name}.");
                remove_old(&parent, &start);
                let temporary = parent.join(format!("{start}{run}{TEMPORARY}"));
                let file = File::create(&temporary).map_err(failed(&temporary))?;
                Ok(Output::Local { file, temporary, path })
            }
            Place::Store(store) => {
                let writer = BufWriter::new(store.store.clone(), location(name));
                let (store, name) = (store.clone(), name.to_owned());
                Ok(Output::Remote { writer: Box::new(writer), store, name })
            }
        }
    }

    /// Puts a small file.
    pub(super) fn put(
        &self,
        name: &str,
        run: &str,
        content: Vec<u8>,
        handle: &Handle,
    ) -> Result<()> {
        if let Place::Store(store) = self {
            let location = location(name);
            let put = store.store.put(&location, PutPayload::from(content));
            return handle.block_on(put).map(drop).map_err(|error| refused(store, name, error));
        }
        let mut output = self.create(name, run)?;
        output.write(content, handle)?;
        output.finish(handle)
    }

    /// The content of a small file.
    pub(super) fn get(&self, name: &str, handle: &Handle) -> Result<Option<Vec<u8>>> {
        match self {
            Place::Folder(folder) => {
                let path = folder.join(name);
                match fs::read(&path) {
                    Ok(content) => Ok(Some(content)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::new(ErrorKind::Io, "the file cannot be read")
                        .with("file", path.display())
                        .because(error)),
                }
            }
            Place::Store(store) => {
                let read = async { store.store.get(&location(name)).await?.bytes().await };
                match handle.block_on(read) {
                    Ok(content) => Ok(Some(content.to_vec())),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => {
                        Err(tidemill_objects::explain(error, "the object cannot be read", name)
                            .with("store", &store.name))
                    }
                }
            }
        }
    }

    /// Whether a file is there.
    pub(super) fn has(&self, name: &str, handle: &Handle) -> Result<bool> {
        match self {
            Place::Folder(folder) => Ok(folder.join(name).is_file()),
            Place::Store(store) => match handle.block_on(store.store.head(&location(name))) {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(refused(store, name, error)),
            },
        }
    }

    /// The names of all files below a folder.
    pub(super) fn list(&self, folder: &str, handle: &Handle) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        match self {
            Place::Folder(root) => {
                let mut open = vec![folder.to_owned()];
                while let Some(folder) = open.pop() {
                    let path = root.join(&folder);
                    let entries = match fs::read_dir(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        entries => entries.map_err(failed(&path))?,
                    };
                    for entry in entries {
                        let entry = entry.map_err(failed(&path))?;
                        let name = format!("{folder}{}", entry.file_name().to_string_lossy());
                        match entry.file_type().map_err(failed(&path))?.is_dir() {
                            true => open.push(format!("{name}/")),
                            false => _ = names.insert(name),
                        }
                    }
                }
            }
            Place::Store(store) => {
                let prefix = location(folder.trim_end_matches('/'));
                let listed: Vec<_> = handle
                    .block_on(store.store.list(Some(&prefix)).try_collect())
                    .map_err(|error| refused(store, folder, error))?;
                names.extend(listed.into_iter().map(|object| object.location.to_string()));
            }
        }
        Ok(names)
    }

    /// Takes a file away; one that is not there is fine.
    pub(super) fn remove(&self, name: &str, handle: &Handle) -> Result<()> {
        match self {
            Place::Folder(folder) => {
                let path = folder.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(failed(&path)(error))
                    }
                    _ => Ok(()),
                }
            }
            Place::Store(store) => match handle.block_on(store.store.delete(&location(name))) {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(refused(store, name, error)),
            },
        }
    }
}

/// Removes what processes that are gone have left of a file.
fn remove_old(folder: &Path, start: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if name.starts_with(start) && name.ends_with(TEMPORARY) && age.is_some_and(|age| age > OLD)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Output {
    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: Vec<u8>, handle: &Handle) -> Result<()> {
        match self {
            Output::Local { file, temporary, .. } => {
                file.write_all(&bytes).map_err(failed(temporary))
            }
            Output::Remote { writer, store, name } => handle
                .block_on(writer.put(Bytes::from(bytes)))
                .map_err(|error| refused(store, name, error)),
            Output::Done => Ok(()),
        }
    }

    /// Gives the file its name. Then it is there, also after a loss of power.
    pub(super) fn finish(mut self, handle: &Handle) -> Result<()> {
        match &mut self {
            Output::Local { file, temporary, path } => {
                file.sync_all().map_err(failed(temporary))?;
                fs::rename(&*temporary, &*path).map_err(failed(path))?;
                if let Some(folder) = path.parent() {
                    sync_folder(folder).map_err(failed(folder))?;
                }
            }
            Output::Remote { writer, store, name } => {
                handle.block_on(writer.shutdown()).map_err(|error| {
                    Error::new(ErrorKind::Io, "the object cannot be written")
                        .with("object", name.as_str())
                        .with("store", &store.name)
                        .because(error)
                })?;
            }
            Output::Done => {}
        }
        self = Output::Done;
        drop(self);
        Ok(())
    }

    /// Leaves nothing of it.
    pub(super) fn abandon(mut self, handle: &Handle) {
        if let Output::Remote { writer, .. } = &mut self {
            let _ = handle.block_on(writer.abort());
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::Local { temporary, .. } = self {
            let _ = fs::remove_file(temporary);
        }
    }
}
