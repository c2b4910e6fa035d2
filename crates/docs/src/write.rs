//! A site as files.

use std::path::Path;

use tidemill_core::{Error, ErrorKind, Result};

use crate::Site;
use crate::script::{assignment, escaped};

const PAGE: &str = include_str!("../assets/index.html");
const STYLE: &str = include_str!("../assets/site.css");
/// One script from files of one concern each; they share one scope.
const SCRIPT: &str = concat!(
    "(function(){\n\"use strict\";\n",
    include_str!("../assets/element.js"),
    include_str!("../assets/project.js"),
    include_str!("../assets/code.js"),
    include_str!("../assets/search.js"),
    include_str!("../assets/layout.js"),
    include_str!("../assets/view.js"),
    include_str!("../assets/neighbours.js"),
    include_str!("../assets/hit.js"),
    include_str!("../assets/filter.js"),
    include_str!("../assets/controls.js"),
    include_str!("../assets/lineage.js"),
    include_str!("../assets/star-layout.js"),
    include_str!("../assets/star.js"),
    include_str!("../assets/home.js"),
    include_str!("../assets/page.js"),
    include_str!("../assets/frame.js"),
    "})();\n",
);

impl Site {
    /// Writes `index.html`, `site.css`, `site.js` and `data.js` into a folder, which is made if need
    /// be. Each file is replaced whole.
    ///
    /// # Errors
    /// When a file cannot be written; the others are as they were or as they shall be.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let head = "<link rel=\"stylesheet\" href=\"site.css\">\n\
             <script src=\"site.js\"></script>\n<script src=\"data.js\" defer></script>";
        // The page comes last: it names the others.
        write_file(&folder.join("site.css"), STYLE)?;
        write_file(&folder.join("site.js"), SCRIPT)?;
        write_file(&folder.join("data.js"), &self.data()?)?;
        write_file(&folder.join("index.html"), &self.page(head))
    }

    /// Copies the images that descriptions show from the project's `assets` folder beside the pages. One
    /// that is not there is left out, as a browser leaves it out.
    ///
    /// # Errors
    /// When one cannot be copied.
    pub fn copy_images(&self, project: &Path, folder: &Path) -> Result<()> {
        let columns = self.pages.iter().flat_map(|page| &page.columns);
        let texts = self.pages.iter().map(|page| &page.description);
        let texts = texts.chain(columns.map(|column| &column.description)).chain([&self.overview]);
        let names: std::collections::BTreeSet<&str> = texts
            .flat_map(|html| html.split("<img src=\"").skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        for name in names {
            let (from, to) = (project.join(name), folder.join(name));
            if !from.is_file() {
                continue;
            }
            let copied = to.parent().map_or(Ok(()), std::fs::create_dir_all);
            copied.and_then(|()| std::fs::copy(&from, &to)).map_err(|error| failed(&to, error))?;
        }
        Ok(())
    }

    /// The whole site as one HTML file, to send to somebody or to put anywhere.
    ///
    /// # Errors
    /// None that a site made by [`Site::distil`] can have.
    pub fn single_file(&self) -> Result<String> {
        let head = format!(
            "<style>\n{STYLE}</style>\n<script>\n{SCRIPT}</script>\n<script>\n{}</script>",
            self.data()?
        );
        Ok(self.page(&head))
    }

    /// A page that leads to the site in a folder beside it, for who opens the folder above.
    pub fn signpost(&self, folder: &str) -> String {
        let (title, folder) = (escaped(&self.title()), escaped(folder));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"refresh\" content=\"0; url={folder}/index.html\">\n\
             <title>{title}</title>\n</head>\n\
             <body><p><a href=\"{folder}/index.html\">{title}</a></p></body>\n</html>\n"
        )
    }

    fn title(&self) -> String {
        format!("{} documentation", self.project.name)
    }

    fn data(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "the site's data cannot be written").because(error)
        })?;
        Ok(assignment(&json))
    }

    fn page(&self, head: &str) -> String {
        let (before, rest) = PAGE.split_once("{title}").unwrap_or((PAGE, ""));
        let (between, after) = rest.split_once("{head}").unwrap_or((rest, ""));
        format!("{before}{}{between}{head}{after}", escaped(&self.title()))
    }
}

/// Replaces a file whole.
fn write_file(path: &Path, content: &str) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path)).map_err(
        |error| {
            let _ = std::fs::remove_file(&temporary);
            failed(path, error)
        },
    )
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "the documentation cannot be written")
        .with("path", path.display())
        .because(error)
}
