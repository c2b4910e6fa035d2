//! How the rows of a delivery come in.

use arrow::datatypes::Schema;
use futures::StreamExt;
use tidemill_core::{BatchStream, Delivered, DeliveryMode, Error, ErrorKind, Result};
use tokio::runtime::Handle;

use super::Writer;
use super::statements::{STAGE, System, is_text};
use super::target::Target;
use crate::delivery::{check_key, explained, wrong_keys};
use crate::drivers::Link;
use crate::failpoint::failpoint;
use crate::insert::Statements;

/// How large a statement is, about.
const STATEMENT: usize = 256 << 10;

impl<L: Link> Writer<L> {
    /// Brings the rows in, in a transaction that is open then.
    pub(super) fn bring(&mut self, rows: BatchStream, handle: &Handle) -> Result<Delivered> {
        let schema = rows.schema.clone();
        let (names, system, mode) = (self.names.clone(), self.system, self.delivery.mode.clone());
        let key = mode.key();
        check_key(&self.delivery, &schema)?;
        let gone = || Error::new(ErrorKind::Internal, "the table that was made is not there");
        let mut target = match self.target()? {
            Some(target) => target,
            None => {
                let sql = system.create(&names, &schema, key)?;
                self.run(&sql)?;
                self.made = true;
                self.target()?.ok_or_else(gone)?
            }
        };
        let added = target.check(&schema, &self.delivery, &names, system)?;
        if !added.is_empty() {
            for sql in system.add(&names, &added)? {
                self.run(&sql)?;
            }
            failpoint!("export.columns-added");
            target = self.target()?.ok_or_else(gone)?;
        }
        let brought = self.bring_to(&target, rows, handle);
        brought.map_err(|error| explained(error, &names.target, &target.required(&schema)))
    }

    /// The same, into a table that is there.
    fn bring_to(
        &mut self,
        target: &Target,
        rows: BatchStream,
        handle: &Handle,
    ) -> Result<Delivered> {
        let schema = rows.schema.clone();
        let (names, system, mode) = (self.names.clone(), self.system, self.delivery.mode.clone());
        let key = mode.key();
        if !key.is_empty() {
            for sql in self.stage(&schema, target) {
                self.run(&sql)?;
            }
        }
        if let Some(sql) = system.begin_late() {
            self.run(sql)?;
        }
        let mut delivered = Delivered::default();
        if key.is_empty() {
            if mode == DeliveryMode::Full {
                delivered.deleted =
                    self.count(&format!("select count(*) from {}", names.target))?;
                self.run(&format!("delete from {}", names.target))?;
            }
            delivered.rows = self.insert(&names.target.clone(), rows, handle)?;
            delivered.inserted = delivered.rows;
            failpoint!("export.copied");
            return Ok(delivered);
        }
        delivered.rows = self.insert(STAGE, rows, handle)?;
        failpoint!("export.copied");
        self.check_rows(key)?;
        self.merge(&schema, target, &mode, &mut delivered)?;
        Ok(delivered)
    }

    /// The statements that make the temporary table.
    fn stage(&self, schema: &Schema, target: &Target) -> Vec<String> {
        let (names, key) = (&self.names, self.delivery.mode.key());
        let all: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let (list, by) = (names.list(&all), names.list(key));
        let of_target = format!("as select {list} from {} where 1 = 0", names.target);
        match self.system {
            System::Postgres => vec![
                format!("create temporary table {STAGE} on commit drop {of_target}"),
                format!("create index on {STAGE} ({by})"),
            ],
            System::MySql => {
                let columns = all.iter().filter_map(|name| {
                    target.column(name, self.system).and_then(|column| column.definition())
                });
                let columns = columns.collect::<Vec<_>>().join(", ");
                vec![format!(
                    "create temporary table {STAGE} ({columns}, index tidemill_key ({by})) engine = InnoDB"
                )]
            }
            System::Sqlite => vec![
                format!("create temp table {STAGE} {of_target}"),
                format!("create index temp.tidemill_key on {STAGE} ({by})"),
            ],
        }
    }

    /// Adds the rows to a table; gives their number.
    fn insert(&mut self, table: &str, mut rows: BatchStream, handle: &Handle) -> Result<u64> {
        let fields = rows.schema.fields();
        let columns: Vec<String> =
            fields.iter().map(|field| self.names.dialect.quote(field.name())).collect();
        let key = self.delivery.mode.key().to_vec();
        let constants = self.system.constants();
        let mut statements = Statements::new(constants, table, &columns, &key, STATEMENT);
        let mut count = 0;
        while let Some(batch) = handle.block_on(rows.batches.next()) {
            self.delivery.cancel.check()?;
            let batch = batch?;
            for sql in statements.of(&batch)? {
                self.run(&sql)?;
            }
            count += batch.num_rows() as u64;
        }
        Ok(count)
    }

    /// A key that is NULL or comes twice is an error before anything is changed.
    fn check_rows(&mut self, key: &[String]) -> Result<()> {
        let quoted: Vec<String> = key.iter().map(|name| self.names.dialect.quote(name)).collect();
        let nulls: Vec<String> = quoted.iter().map(|name| format!("{name} is null")).collect();
        let nulls =
            self.count(&format!("select count(*) from {STAGE} where {}", nulls.join(" or ")))?;
        let list = quoted.join(", ");
        let sql = format!("select {list} from {STAGE} group by {list} having count(*) > 1 limit 1");
        let twice = match nulls {
            0 => self.link.texts(&sql)?.into_iter().next(),
            _ => None,
        };
        let shown = |row: Vec<Option<String>>| {
            row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(", ")
        };
        wrong_keys(nulls, twice.map(shown), key, &self.delivery)
    }

    /// Brings the rows of the stage in.
    fn merge(
        &mut self,
        schema: &Schema,
        target: &Target,
        mode: &DeliveryMode,
        delivered: &mut Delivered,
    ) -> Result<()> {
        let (names, system, key) = (self.names.clone(), self.system, mode.key());
        let quote = |name: &str| names.dialect.quote(name);
        let same = |one: &str, other: &str| {
            let same = key.iter().map(|name| format!("{one}.{0} = {other}.{0}", quote(name)));
            same.collect::<Vec<_>>().join(" and ")
        };
        let by_key = same("s", "t");
        if let DeliveryMode::Merge { deletes: true, .. } = mode {
            let gone = format!(
                "from {0} where not exists (select 1 from {STAGE} as s where {1})",
                names.target,
                same("s", &names.target)
            );
            delivered.deleted = self.count(&format!("select count(*) {gone}"))?;
            self.run(&format!("delete {gone}"))?;
        }
        let others = schema.fields().iter().filter(|field| !key.contains(field.name()));
        let others: Vec<_> = others.collect();
        if matches!(mode, DeliveryMode::Merge { .. }) && !others.is_empty() {
            let differs: Vec<String> = others
                .iter()
                .map(|field| {
                    let side = |side: &str| {
                        let name = format!("{side}.{}", quote(field.name()));
                        let column = target.column(field.name(), system);
                        column.map_or(name.clone(), |column| column.compared(&name))
                    };
                    system.differs(&side("t"), &side("s"), is_text(field.data_type()))
                })
                .collect();
            let differs = differs.join(" or ");
            delivered.updated = self.count(&format!(
                "select count(*) from {STAGE} as s join {} as t on {by_key} where {differs}",
                names.target
            ))?;
            let set: Vec<String> = others.iter().map(|field| quote(field.name())).collect();
            self.run(&system.update(&names.target, &set, &by_key, &differs))?;
        }
        let all: Vec<String> = schema.fields().iter().map(|field| quote(field.name())).collect();
        let of_stage: Vec<String> = all.iter().map(|name| format!("s.{name}")).collect();
        let new = format!(
            "from {STAGE} as s where not exists (select 1 from {} as t where {by_key})",
            names.target
        );
        delivered.inserted = self.count(&format!("select count(*) {new}"))?;
        self.run(&format!(
            "insert into {} ({}) select {} {new}",
            names.target,
            all.join(", "),
            of_stage.join(", ")
        ))
    }
}
