//! Folders that are tables: what a location is that says no format.

use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ListResult, ObjectStore};
use tidemill_objects::StoreOptions;
use tokio::runtime::Handle;

use super::archive::is_archive;
use super::iceberg::is_metadata;
use super::settings::FileFormat;
use super::{Root, listing};

/// The format of the table whose folder this is; none where it is no folder of a table, or cannot be
/// looked into.
pub(super) fn table_format(
    root: &Root,
    locations: &[String],
    handle: &Handle,
) -> Option<FileFormat> {
    let [location] = locations else { return None };
    if listing::is_pattern(location)
        || FileFormat::of_name(location).is_some()
        || is_archive(location)
    {
        return None;
    }
    match root {
        _ if tidemill_objects::is_address(location) => {
            let store = tidemill_objects::open(location, &StoreOptions::new()).ok()?.store;
            handle.block_on(of_store(store.as_ref(), &Path::default()))
        }
        Root::Folder(project) => {
            let folder = project.join(location);
            if folder.join("_delta_log").is_dir() {
                return Some(FileFormat::Delta);
            }
            let mut names = std::fs::read_dir(folder.join("metadata")).ok()?.flatten();
            let is = |name: &str| is_metadata(name);
            names
                .any(|entry| entry.file_name().to_str().is_some_and(is))
                .then_some(FileFormat::Iceberg)
        }
        Root::Store(store) => {
            let path = Path::parse(location.trim_start_matches("./").trim_matches('/')).ok()?;
            handle.block_on(of_store(store.store.as_ref(), &path))
        }
        Root::Tree(tree) => {
            let path = Path::parse(location.trim_start_matches("./").trim_matches('/')).ok()?;
            handle.block_on(of_store(tree.opened().store.as_ref(), &path))
        }
        Root::Web { .. } => None,
    }
}

async fn of_store(store: &dyn ObjectStore, folder: &Path) -> Option<FileFormat> {
    let list = |folder: Path| -> BoxFuture<'_, Option<ListResult>> {
        Box::pin(async move { store.list_with_delimiter(Some(&folder)).await.ok() })
    };
    let found = list(folder.clone()).await?;
    let within = |name: &str| {
        found.common_prefixes.iter().find(|path| path.filename() == Some(name)).cloned()
    };
    if within("_delta_log").is_some() {
        return Some(FileFormat::Delta);
    }
    let metadata = list(within("metadata")?).await?;
    let mut names = metadata.objects.iter().filter_map(|object| object.location.filename());
    names.any(is_metadata).then_some(FileFormat::Iceberg)
}
