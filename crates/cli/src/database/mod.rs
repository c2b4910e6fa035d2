//! A project whose models run inside of a database: the same commands, over its sessions.

mod build;
mod catalog;
mod clone;
mod commands;
mod defer;
mod renderer;
mod seeds;
mod templates;
mod unit_tests;

use std::sync::Arc;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use tidemill_connect::postgres::{Postgres, PostgresConfig};
use tidemill_core::{
    BatchStream, Database, Description, Engine, Error, ErrorKind, Measure, Measurement,
    QueryContext, RelationName,
};

pub(crate) use build::{hooks, run_work};
pub(crate) use clone::clone;
pub(crate) use commands::{
    asking, compile, debug, docs, operation, operation_sql, show, show_seeds, sql,
};
pub(crate) use renderer::InDatabase;

use crate::session::Session;

/// The database that models run in; `None` for a lake.
///
/// # Errors
/// When a field of the profile is wrong.
pub(crate) fn of(session: &Session) -> Result<Option<Arc<dyn Database>>> {
    let Some(target) = &session.manifest().target.runs_in else { return Ok(None) };
    let config = PostgresConfig::from_settings(&target.settings).map_err(|error| {
        let name = &session.manifest().target.name;
        error.with("target", name)
    })?;
    Ok(Some(Arc::new(Postgres::new(config)?)))
}

/// What commands of the lake say to a project that has none.
pub(crate) fn no_lake(session: &Session) -> anyhow::Error {
    let target = &session.manifest().target;
    anyhow!(
        "`{}` works on a lake, and the target `{}` runs models in its database; name a lake with \
         --target-lake=./lake",
        session.command,
        target.name
    )
}

/// Stands where an engine of the lake would.
pub(crate) struct NoEngine;

fn refused() -> Error {
    Error::new(ErrorKind::Internal, "the lake's engine was asked, and models run in a database")
}

#[async_trait]
impl Engine for NoEngine {
    async fn describe(&self, _: &str, _: &QueryContext) -> tidemill_core::Result<Description> {
        Err(refused())
    }

    async fn query(&self, _: &str, _: &QueryContext) -> tidemill_core::Result<BatchStream> {
        Err(refused())
    }

    async fn measure(
        &self,
        _: &RelationName,
        _: &[Measure],
        _: &QueryContext,
    ) -> tidemill_core::Result<Vec<tidemill_core::Result<Measurement>>> {
        Err(refused())
    }
}
