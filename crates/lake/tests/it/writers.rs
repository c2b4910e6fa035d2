//! Several writers at once, and stores that fail.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use serde_json::json;
use tidemill_core::{
    At, ErrorKind, NullKeys, Position, PublishChange, PublishMeta, RelationKind, TableStore,
    WriteMode,
};
use tidemill_lake::{Lake, LakeOptions};

use crate::support::*;

async fn many(writers: usize, commits: usize) {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await;
    let staged =
        stage(&first, "s.shared", WriteMode::Replace, vec![], people(&[(-1, "x")])).await.unwrap();
    publish(&first, staged).await.unwrap();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let folder = folder.path().to_path_buf();
            tokio::spawn(async move {
                // A lake of its own, as another process has.
                let lake = open(&folder).await;
                for commit in 0..commits {
                    let id = (writer * 1000 + commit) as i64;
                    let own = format!("s.own{writer}");
                    loop {
                        let rows = people(&[(id, "x")]);
                        let shared =
                            stage(&lake, "s.shared", WriteMode::Append, vec![], rows.clone())
                                .await
                                .unwrap();
                        let private =
                            stage(&lake, &own, WriteMode::Append, vec![], rows).await.unwrap();
                        let rebase = commit % 2 == 0;
                        let meta = || PublishMeta { rebase, ..PublishMeta::default() };
                        let (shared, private) = (Arc::new(shared), Arc::new(private));
                        let changes = vec![
                            PublishChange::Table(shared.clone(), meta()),
                            PublishChange::Table(private.clone(), meta()),
                        ];
                        match lake.publish(changes, &run()).await {
                            Ok(_) => break,
                            Err(error) if error.kind() == ErrorKind::Conflict => {
                                lake.discard(&shared).await.unwrap();
                                lake.discard(&private).await.unwrap();
                            }
                            Err(error) => panic!("{}", error.report()),
                        }
                    }
                    // A reader in between sees whole publishes.
                    let seen = lake.snapshot(At::Now).await.unwrap();
                    let rows = |name: &str| {
                        seen.get(&relation(name)).and_then(|table| table.rows).unwrap_or_default()
                    };
                    let own: u64 = (0..writers).map(|writer| rows(&format!("s.own{writer}"))).sum();
                    assert_eq!(rows("s.shared"), own + 1);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let snapshot = first.snapshot(At::Now).await.unwrap();
    let shared = snapshot.get(&relation("s.shared")).unwrap();
    assert_eq!(shared.rows, Some((writers * commits) as u64 + 1));
    assert_eq!(snapshot.entry.0, (writers * commits) as u64 + 1);
    match &shared.kind {
        RelationKind::Table { version, .. } => assert_eq!(version.0, (writers * commits) as u64),
        RelationKind::View { .. } => panic!("it is a table"),
    }
    let lake = TestLake { lake: first, folder, runtime: Default::default() };
    lake.lake.register(&lake.runtime);
    assert_eq!(lake.query("s.shared", "select count(*) - count(distinct id) from t").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_lose_and_double_nothing() {
    many(2, if std::env::var("TIDEMILL_SOAK").is_ok() { 500 } else { 15 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_lose_and_double_nothing() {
    many(8, if std::env::var("TIDEMILL_SOAK").is_ok() { 200 } else { 5 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_that_are_ready_together_share_an_entry() {
    let lake = TestLake::new().await;
    let mut staged = Vec::new();
    for index in 0..20 {
        let name = format!("s.t{index}");
        staged.push(lake.stage(&name, WriteMode::Replace, people(&[(1, "a")])).await.unwrap());
    }
    let published =
        futures::future::join_all(staged.into_iter().map(|staged| publish(&lake.lake, staged)))
            .await;
    let entries: std::collections::BTreeSet<u64> =
        published.into_iter().map(|published| published.unwrap().entry.0).collect();
    assert!(entries.len() < 20, "{entries:?}");
    assert_eq!(lake.lake.snapshot(At::Now).await.unwrap().relations.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_are_shared_by_a_group() {
    let lake = TestLake::new().await;
    let mut changes = Vec::new();
    for index in 0..100 {
        let name = format!("s.t{index}");
        let staged = lake.stage(&name, WriteMode::Replace, people(&[(1, "a")])).await.unwrap();
        changes.push(PublishChange::Table(Arc::new(staged), PublishMeta::default()));
    }
    let before = lake.lake.sync_counts();
    lake.lake.publish(changes, &run()).await.unwrap();
    let after = lake.lake.sync_counts();
    let one_by_one = after.files + after.directories - before.files - before.directories;
    assert!(one_by_one < 20, "{before:?} {after:?}");
    assert!(after.groups > before.groups);

    // One table: every commit file, the intent and the entry are synced before they have a name,
    // and their directories after it.
    let staged = lake.stage("s.t0", WriteMode::Append, people(&[(2, "b")])).await.unwrap();
    let before = lake.lake.sync_counts();
    publish(&lake.lake, staged).await.unwrap();
    let after = lake.lake.sync_counts();
    assert!(after.files - before.files >= 4, "{before:?} {after:?}");
    assert!(after.directories - before.directories >= 4, "{before:?} {after:?}");
}

/// A store whose n-th change fails: it is lost on the way there, or its answer on the way back.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    countdown: AtomicI64,
    applied: bool,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> StoreResult<PutResult> {
        let fails = self.countdown.fetch_sub(1, Ordering::SeqCst) == 0;
        let lost = || object_store::Error::Generic { store: "faulty", source: "lost".into() };
        if fails && !self.applied {
            return Err(lost());
        }
        let result = self.inner.put_opts(location, payload, opts).await;
        if fails { Err(lost()) } else { result }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_or_a_lost_answer_loses_and_doubles_nothing() {
    for applied in [false, true] {
        for request in 0..12 {
            let store = Arc::new(Faulty {
                inner: InMemory::new(),
                countdown: AtomicI64::new(i64::MAX),
                applied,
            });
            let runtime = Arc::new(datafusion::execution::runtime_env::RuntimeEnv::default());
            let options = LakeOptions::new(runtime.clone());
            let lake = Lake::open_store(store.clone(), options.clone()).await.unwrap();
            let staged =
                stage(&lake, "s.t", WriteMode::Replace, vec![], people(&[(1, "a")])).await.unwrap();
            publish(&lake, staged).await.unwrap();

            store.countdown.store(request, Ordering::SeqCst);
            let what = format!("request {request}, applied {applied}");
            let done = Position(json!(1));
            // As an ingest does: what the position says is done is not done again.
            for attempt in 0..3 {
                let lake = Lake::open_store(store.clone(), options.clone()).await.unwrap();
                let Ok(base) = lake.snapshot(At::Now).await else { continue };
                if base.get(&relation("s.t")).unwrap().position == Some(done.clone()) {
                    break;
                }
                let rows = people(&[(2, "b")]);
                let Ok(staged) = stage(&lake, "s.t", WriteMode::Append, vec![], rows).await else {
                    continue;
                };
                let meta = PublishMeta { position: Some(done.clone()), ..PublishMeta::default() };
                let change = PublishChange::Table(Arc::new(staged), meta);
                match lake.publish(vec![change], &run()).await {
                    Ok(_) => {}
                    Err(error) => {
                        assert!(attempt < 2, "{what}: {}", error.report());
                        // The next one finishes what may be decided.
                        lake.repair().await.unwrap();
                    }
                }
            }
            let lake = Lake::open_store(store.clone(), options).await.unwrap();
            lake.repair().await.unwrap();
            let snapshot = lake.snapshot(At::Now).await.unwrap();
            let table = snapshot.get(&relation("s.t")).unwrap();
            assert_eq!(table.rows, Some(2), "{what}");
            assert_eq!(table.position, Some(done), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_upserts_replacements_and_maintenance_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await;
    let seed: Vec<(i64, &str)> = (0..20).map(|id| (id, "seed")).collect();
    let staged = stage(&first, "s.t", WriteMode::Replace, vec![], people(&seed)).await.unwrap();
    publish(&first, staged).await.unwrap();
    let commits = if std::env::var("TIDEMILL_SOAK").is_ok() { 200 } else { 6 };
    let names: [&'static str; 6] = ["v0", "v1", "v2", "v3", "v4", "v5"];
    let mut tasks = Vec::new();
    for writer in 0..3i64 {
        let folder = folder.path().to_path_buf();
        tasks.push(tokio::spawn(async move {
            let lake = open(&folder).await;
            for commit in 0..commits {
                loop {
                    let name = names[commit as usize % names.len()];
                    let (mode, rows) = match writer {
                        0 => (WriteMode::Append, people(&[(1000 + commit, "append")])),
                        1 => (upsert(&["id"]), people(&[(3, name), (4, name)])),
                        _ => (
                            WriteMode::DeleteInsert {
                                key: vec!["id".into()],
                                null_keys: NullKeys::Fail,
                            },
                            people(&[(7, name), (7, name)]),
                        ),
                    };
                    let staged = Arc::new(stage(&lake, "s.t", mode, vec![], rows).await.unwrap());
                    let meta = PublishMeta { rebase: writer == 0, ..PublishMeta::default() };
                    let change = PublishChange::Table(staged.clone(), meta);
                    match lake.publish(vec![change], &run()).await {
                        Ok(_) => break,
                        Err(error) if error.kind() == ErrorKind::Conflict => {
                            lake.discard(&staged).await.unwrap();
                        }
                        Err(error) => panic!("{}", error.report()),
                    }
                }
            }
        }));
    }
    let running = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let keeper = {
        let (folder, running) = (folder.path().to_path_buf(), running.clone());
        tokio::spawn(async move {
            let lake = open(&folder).await;
            while running.load(Ordering::SeqCst) {
                let report = lake.maintain(&tidemill_core::Maintenance::default()).await.unwrap();
                assert_eq!(report.warnings, Vec::<String>::new());
                // A reader looks at one whole state.
                let snapshot = lake.snapshot(At::Now).await.unwrap();
                let table = snapshot.get(&relation("s.t")).unwrap();
                lake.provider(table).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    for task in tasks {
        task.await.unwrap();
    }
    running.store(false, Ordering::SeqCst);
    keeper.await.unwrap();
    let lake = TestLake { lake: first, folder, runtime: Default::default() };
    lake.lake.register(&lake.runtime);
    let last = names[(commits as usize - 1) % names.len()];
    let mut expected: Vec<String> = (0..20)
        .filter(|id| ![3, 4, 7].contains(id))
        .map(|id| format!("{id},seed"))
        .chain([3, 4, 7, 7].map(|id| format!("{id},{last}")))
        .chain((0..commits).map(|commit| format!("{},append", 1000 + commit)))
        .collect();
    expected.sort();
    assert_eq!(lake.rows("s.t").await, expected);
    assert_eq!(lake.lake.repair().await.unwrap().problems, []);
}

/// A small file system of its own, if this machine lets us have one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("SKIPPED: no small file system can be mounted here");
        }
        mounted.then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_survived() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut failures = 0;
    for free in 0..24u64 {
        let folder = disk.0.path().join(format!("lake{free}"));
        let lake = open(&folder).await;
        let rows: Vec<(i64, &str)> = (0..2000).map(|id| (id, "row")).collect();
        let staged = stage(&lake, "s.t", WriteMode::Replace, vec![], people(&rows)).await.unwrap();
        publish(&lake, staged).await.unwrap();

        // Room for so many pages, and no more.
        let filler = disk.0.path().join("filler");
        fill(&filler, free * 4096);
        let more: Vec<(i64, &str)> = (2000..4000).map(|id| (id, "row")).collect();
        let first = async {
            let staged = stage(&lake, "s.t", WriteMode::Append, vec![], people(&more)).await?;
            publish(&lake, staged).await
        }
        .await;
        if let Err(error) = &first {
            failures += 1;
            assert!(error.report().contains("the disk is full"), "{free}: {}", error.report());
        }
        let decided = matches!(&first, Err(error) if error.kind() == ErrorKind::Unknown);
        let seen = lake.snapshot(At::Now).await.unwrap();
        let rows = seen.get(&relation("s.t")).unwrap().rows;
        assert!(rows == Some(2000) || rows == Some(4000), "{free}: {rows:?}");

        // The same process works again when there is room.
        std::fs::remove_file(&filler).unwrap();
        let after = lake.recover().await.unwrap();
        if first.is_ok() || decided {
            assert_eq!(after.get(&relation("s.t")).unwrap().rows, Some(4000), "{free}");
        } else {
            let staged =
                stage(&lake, "s.t", WriteMode::Append, vec![], people(&more)).await.unwrap();
            let published = publish(&lake, staged).await.unwrap();
            assert_eq!(published.snapshot.get(&relation("s.t")).unwrap().rows, Some(4000));
        }
        assert_eq!(lake.repair().await.unwrap().problems, []);
        std::fs::remove_dir_all(&folder).unwrap();
    }
    assert!(failures > 0, "the disk was never full");
}

/// Fills the disk but for so many bytes.
fn fill(path: &std::path::Path, keep: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let page = [1u8; 4096];
    let mut written = 0u64;
    while file.write_all(&page).is_ok() {
        written += page.len() as u64;
    }
    file.set_len(written.saturating_sub(keep)).unwrap();
}
