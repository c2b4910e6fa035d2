//! The view that stands for the latest version of a model (`latest_version_pointer`).

use serde_json::{Map, Value};

use crate::manifest::Node;
use crate::settings::Hook;

/// Its name, by the macro that a project may have its own of. It is made when the model is published.
const ON_THE_LAKE: &str = "{% set name = generate_latest_version_pointer_alias((config.get('latest_version_pointer') or {}).get('alias'), model) | trim %}\
{% if name == this.identifier %}{% do exceptions.raise_compiler_error('the latest version of `' ~ model.name ~ '` has the name of its pointer, `' ~ name ~ '`: give the pointer an `alias`, or say `latest_version_pointer: {enabled: false}`') %}{% endif %}\
create or replace view {{ api.Relation.create(database=this.database, schema=this.schema, identifier=name) }} as select * from {{ this }}";

/// PostgreSQL replaces no view by one with other columns.
const IN_A_DATABASE: &str = "{% set name = generate_latest_version_pointer_alias((config.get('latest_version_pointer') or {}).get('alias'), model) | trim %}\
{% if name == this.identifier %}{% do exceptions.raise_compiler_error('the latest version of `' ~ model.name ~ '` has the name of its pointer, `' ~ name ~ '`: give the pointer an `alias`, or say `latest_version_pointer: {enabled: false}`') %}{% endif %}\
{% set pointer = api.Relation.create(database=this.database, schema=this.schema, identifier=name) %}\
drop view if exists {{ pointer }} cascade; create view {{ pointer }} as select * from {{ this }}";

/// Whether a model has a pointer: it is the latest of several versions, and its configuration or
/// else the project's flag says so.
pub(crate) fn is_wanted(node: &Node, flags: &Map<String, Value>) -> bool {
    let is_latest = node.version.is_some() && node.version == node.latest_version;
    let said = node.config.get("latest_version_pointer").and_then(|said| said.get("enabled"));
    let by_default = || {
        let flag = flags.get("latest_version_pointer_enabled_by_default");
        flag.and_then(Value::as_bool).unwrap_or(false)
    };
    is_latest && said.and_then(Value::as_bool).unwrap_or_else(by_default)
}

/// The statement that makes it.
pub(crate) fn hook(in_a_database: bool) -> Hook {
    Hook {
        sql: if in_a_database { IN_A_DATABASE } else { ON_THE_LAKE }.to_owned(),
        transaction: false,
        index: None,
        package: String::new(),
        position: None,
    }
}

impl Hook {
    /// Whether it makes the view of a latest version, and not something that a project asks for.
    pub fn is_pointer(&self) -> bool {
        self.sql == ON_THE_LAKE || self.sql == IN_A_DATABASE
    }
}
