//! Maintenance: joining small files, deleting what nothing names, cleaning the logs up.

use std::sync::Arc;

use tidemill_core::{Maintenance, MaintenanceReport, Result};

use crate::lake::Inner;

pub(crate) async fn maintain(
    _inner: &Arc<Inner>,
    _rule: &Maintenance,
) -> Result<MaintenanceReport> {
    Ok(MaintenanceReport::default())
}
