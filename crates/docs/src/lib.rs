//! The documentation site of a project: a folder of static pages, and a small server for it.
//!
//! **Takes** dbt's artifacts as values ([`Artifacts`]: `manifest.json` v12, and where there are any
//! `catalog.json` v1 and `run_results.json` v6). **Gives** a [`Site`], which is data (what the pages
//! show, distilled and linked), and writes it as one folder ([`Site::write`]) or one file
//! ([`Site::single_file`]) that a browser opens from disk: no network, no fonts or scripts of others,
//! no build step. [`Server`] serves such a folder.
//!
//! **Promises** that nothing in a project can run in the page: names and SQL become text, the
//! Markdown of descriptions becomes HTML here, with raw HTML shown as it was typed and links of
//! unknown schemes left out, and the data cannot end the script that holds it. Artifacts of other
//! tools and versions are read leniently: what is missing is left out of the page. A failed write
//! leaves every file as it was or as it shall be.
//!
//! ```
//! use serde_json::json;
//! use tidemill_docs::{Artifacts, Site};
//!
//! let manifest = json!({
//!     "metadata": {"project_name": "shop"},
//!     "nodes": {"model.shop.orders": {
//!         "resource_type": "model", "name": "orders", "unique_id": "model.shop.orders",
//!         "description": "One row an *order*.",
//!     }},
//! });
//! let site = Site::distil(&Artifacts { manifest: &manifest, ..Artifacts::default() });
//! assert_eq!(site.pages[0].description, "<p>One row an <em>order</em>.</p>\n");
//! ```

mod distil;
mod markdown;
mod script;
mod serve;
mod site;
mod write;

pub use distil::Artifacts;
pub use serve::{Folder, Reply, Server};
pub use site::{
    Column, Field, Page, ProjectFacts, Relationship, Run, RunFacts, Site, Statistics, TestFacts,
};
