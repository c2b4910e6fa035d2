//! The files below a folder, folder by folder.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use tidemill_core::{Error, ErrorKind, Result};

use super::tree::Tree;
use super::{Folder, Named, repeated};

/// How deep folders may be nested: a link to a folder above ends here.
const DEEPEST: usize = 64;

/// What the names of files end with that are being written.
pub(super) const TEMPORARY: &str = ".tidemill-part";

/// Says of a path whether it is looked for, or may hold what is.
pub(in crate::files) type Choice = dyn Fn(&str) -> bool + Send + Sync;

/// What is looked for.
#[derive(Clone)]
pub(in crate::files) struct Wanted {
    pub(in crate::files) files: Arc<Choice>,
    pub(in crate::files) folders: Arc<Choice>,
}

impl Wanted {
    pub(super) fn everything() -> Wanted {
        Wanted { files: Arc::new(|_| true), folders: Arc::new(|_| true) }
    }
}

/// A walk through folders.
struct Walk {
    tree: Tree,
    wanted: Wanted,
    /// Folders to come, with how deep they are.
    waiting: Vec<(String, usize)>,
    open: Option<Open>,
    found: VecDeque<ObjectMeta>,
}

struct Open {
    path: String,
    depth: usize,
    names: Box<dyn Folder>,
    tries: u32,
}

/// The files below a folder, whose path is relative to the tree. When a connection breaks in the middle
/// of a folder, its first files may come twice.
pub(super) fn files(
    tree: Tree,
    folder: &str,
    wanted: Wanted,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let walk = Walk {
        tree,
        wanted,
        waiting: vec![(folder.to_owned(), 0)],
        open: None,
        found: VecDeque::new(),
    };
    stream::try_unfold(walk, |mut walk| async move {
        loop {
            if let Some(file) = walk.found.pop_front() {
                return Ok(Some((file, walk)));
            }
            if !walk.step().await? {
                return Ok(None);
            }
        }
    })
    .boxed()
}

/// The path of a name in a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        _ if folder.ends_with('/') => format!("{folder}{name}"),
        _ => format!("{folder}/{name}"),
    }
}

impl Walk {
    /// Looks at some more names; false at the end.
    async fn step(&mut self) -> Result<bool> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let Some((path, depth)) = self.waiting.pop() else { return Ok(false) };
                match begin(&self.tree, &path).await {
                    Ok(names) => Open { path, depth, names, tries: 0 },
                    // Where it was listed before, it is gone; else there is nothing to list.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
        };
        match open.names.next().await {
            Ok(Some(names)) => {
                for named in names {
                    self.take(&open.path, open.depth, named).await?;
                }
                self.open = Some(open);
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable && open.tries < 3 => {
                open.tries += 1;
                open.names = begin(&self.tree, &open.path).await?;
                self.open = Some(open);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    async fn take(&mut self, folder: &str, depth: usize, named: Named) -> Result<()> {
        let Named { name, mut look, is_exact } = named;
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            return Ok(());
        }
        let path = join(folder, &name);
        if look.is_folder {
            if depth < DEEPEST && (self.wanted.folders)(&path) {
                self.waiting.push((path, depth + 1));
            }
            return Ok(());
        }
        if name.ends_with(TEMPORARY) || !(self.wanted.files)(&path) {
            return Ok(());
        }
        if name.contains(char::REPLACEMENT_CHARACTER) {
            // It cannot be asked for by what was made of it.
            return Err(Error::new(ErrorKind::Data, "the name of a file is not UTF-8")
                .with("file", path)
                .with("hint", "rename it, or choose a pattern that does not mean it"));
        }
        if !is_exact {
            let whole = self.tree.whole(&path);
            match repeated(|| self.tree.server().look(&whole)).await? {
                Some(now) if !now.is_folder => look = now,
                // A link to a folder, of a server that does not tell.
                Some(_) if depth < DEEPEST && (self.wanted.folders)(&path) => {
                    self.waiting.push((path, depth + 1));
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
        match Path::parse(&path) {
            Ok(location) => self.found.push_back(super::tree::meta(location, &look)),
            Err(_) => {
                let file = path.escape_debug();
                tracing::warn!(%file, "a file whose name has control characters is left out");
            }
        }
        Ok(())
    }
}

async fn begin(tree: &Tree, path: &str) -> Result<Box<dyn Folder>> {
    let whole = tree.whole(path);
    repeated(|| tree.server().folder(&whole)).await
}
