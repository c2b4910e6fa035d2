//! Tables that are copies of others: their files have second names, and neither table harms the other.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::{At, Maintenance, PublishChange, PublishMeta, TableStore, WriteMode};

use crate::support::*;

/// The data files below a folder: their sizes by their numbers on disk.
fn inodes(folder: &Path) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                open.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "parquet") {
                found.insert(metadata.ino(), metadata.len());
            }
        }
    }
    found
}

async fn copy(lake: &TestLake, source: &str, target: &str, partition_by: &[&str]) -> bool {
    let base = lake.lake.snapshot(At::Now).await.unwrap();
    let partition_by: Vec<String> = partition_by.iter().map(|name| (*name).to_owned()).collect();
    let (source, target) = (relation(source), relation(target));
    let staged = lake.lake.stage_copy(&target, &source, &partition_by, &base, &[]).await.unwrap();
    let Some(staged) = staged else { return false };
    publish(&lake.lake, staged).await.unwrap();
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_content_of_the_files_and_outlives_its_source() {
    let lake = TestLake::new().await;
    lake.write("prod.t", WriteMode::Append, people(&[(1, "a"), (2, "b")])).await.unwrap();
    lake.write("prod.t", WriteMode::Append, people(&[(3, "c")])).await.unwrap();
    assert!(copy(&lake, "prod.t", "dev.t", &[]).await);
    assert_eq!(lake.rows("dev.t").await, ["1,a", "2,b", "3,c"]);
    let folder = |name: &str| lake.folder.path().join(name);
    let shared = inodes(&folder("prod/t"));
    assert_eq!(shared.len(), 2);
    assert_eq!(inodes(&folder("dev/t")), shared, "no file was written");
    let snapshot = lake.lake.snapshot(At::Now).await.unwrap();
    let of = |name: &str| snapshot.get(&relation(name)).unwrap().clone();
    assert_eq!(of("dev.t").rows, Some(3));
    assert_eq!(of("dev.t").hash, of("prod.t").hash);

    // Each goes its own way.
    lake.write("dev.t", upsert(&["id"]), people(&[(1, "changed"), (4, "d")])).await.unwrap();
    assert_eq!(lake.rows("prod.t").await, ["1,a", "2,b", "3,c"]);
    lake.write("prod.t", WriteMode::Replace, people(&[(9, "z")])).await.unwrap();
    let all = Maintenance { keep_for: Duration::ZERO, keep_versions: 1, ..Maintenance::default() };
    lake.lake.maintain(&all).await.unwrap();
    assert_eq!(lake.rows("dev.t").await, ["1,changed", "2,b", "3,c", "4,d"]);
    assert_eq!(lake.rows("prod.t").await, ["9,z"]);

    // Over a table that is there, and back again after its source is gone.
    assert!(copy(&lake, "prod.t", "dev.t", &[]).await);
    assert_eq!(lake.rows("dev.t").await, ["9,z"]);
    let drop = PublishChange::Drop { relation: relation("prod.t") };
    lake.lake.publish(vec![drop], &run()).await.unwrap();
    lake.lake.maintain(&all).await.unwrap();
    assert_eq!(lake.rows("dev.t").await, ["9,z"]);
    assert!(!copy(&lake, "prod.t", "dev.t", &[]).await, "there is no such table");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_kept_and_others_are_refused() {
    let lake = TestLake::new().await;
    let rows = people(&[(1, "a b"), (2, "ü/%"), (3, "a b")]);
    let partition_by = vec!["name".to_owned()];
    let staged = stage(&lake.lake, "prod.t", WriteMode::Append, partition_by, rows).await.unwrap();
    publish(&lake.lake, staged).await.unwrap();
    assert!(!copy(&lake, "prod.t", "dev.t", &[]).await, "it is partitioned otherwise");
    assert!(copy(&lake, "prod.t", "dev.t", &["name"]).await);
    assert_eq!(lake.rows("dev.t").await, ["1,a b", "2,ü/%", "3,a b"]);
    assert_eq!(lake.query("dev.t", "select id from t where name = 'ü/%'").await, ["2"]);
    assert_eq!(inodes(&lake.folder.path().join("dev")), inodes(&lake.folder.path().join("prod")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_published_leaves_nothing() {
    let lake = TestLake::new().await;
    lake.write("prod.t", WriteMode::Append, people(&[(1, "a")])).await.unwrap();
    let base = lake.lake.snapshot(At::Now).await.unwrap();
    let (source, target) = (relation("prod.t"), relation("dev.t"));
    let staged = lake.lake.stage_copy(&target, &source, &[], &base, &[]).await.unwrap().unwrap();
    assert!(!inodes(&lake.folder.path().join("dev")).is_empty());
    lake.lake.discard(&staged).await.unwrap();
    assert!(!lake.folder.path().join("dev/t").exists());
    assert_eq!(lake.rows("prod.t").await, ["1,a"]);
    let staged = lake.lake.stage_copy(&target, &source, &[], &base, &[]).await.unwrap().unwrap();
    let change = PublishChange::Table(Arc::new(staged), PublishMeta::default());
    lake.lake.publish(vec![change], &run()).await.unwrap();
    assert_eq!(lake.rows("dev.t").await, ["1,a"]);
}
