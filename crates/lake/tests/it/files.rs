//! Tables by their files: which file a row is in, and files that are replaced as a whole.

use std::collections::BTreeSet;

use tidemill_core::{At, ErrorKind, FILE, RelationName, TableStore, WriteMode};

use crate::support::*;

/// Three files of two rows each; the third partition of `name` is NULL where it is partitioned.
async fn three_files(partition_by: &[&str], hash_rows: u64) -> TestLake {
    let lake = TestLake::with(|options| options.hash_rows = hash_rows).await;
    for (first, name) in [(1, "a"), (3, "b"), (5, "c")] {
        let partition_by = partition_by.iter().map(|name| (*name).to_owned()).collect();
        let rows = people(&[(first, name), (first + 1, name)]);
        let staged = stage(&lake.lake, "s.t", WriteMode::Append, partition_by, rows).await.unwrap();
        publish(&lake.lake, staged).await.unwrap();
    }
    lake
}

/// The files that hold rows of these ids.
async fn files_of(lake: &TestLake, condition: &str) -> Vec<String> {
    let base = lake.lake.snapshot(At::Now).await.unwrap();
    let all = lake.lake.by_file(&relation("s.t"), &base, None).await.unwrap().unwrap();
    assert_eq!(all.schema.fields().last().unwrap().name(), FILE);
    let provider = lake.lake.provider_staged(&all).unwrap();
    let sql = format!("select distinct {FILE} from t where {condition}");
    lake.query_of(provider, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_name_their_files_and_files_are_replaced() {
    for (partition_by, hash_rows) in [(vec![], 0), (vec![], 100), (vec!["name"], 100)] {
        let lake = three_files(&partition_by, hash_rows).await;
        let base = lake.lake.snapshot(At::Now).await.unwrap();
        let files = files_of(&lake, "id in (3, 4)").await;
        assert_eq!(files.len(), 1);
        let only: BTreeSet<String> = files.iter().cloned().collect();
        let part = lake.lake.by_file(&relation("s.t"), &base, Some(&only)).await.unwrap().unwrap();
        assert_eq!(part.rows, Some(2));
        let provider = lake.lake.provider_staged(&part).unwrap();
        assert_eq!(lake.query_of(provider, "select * from t").await, ["3,b", "4,b"]);

        let mode = WriteMode::ReplaceFiles { files };
        let staged = lake.stage("s.t", mode, people(&[(3, "z"), (7, "z")])).await.unwrap();
        assert_eq!((staged.rows_written, staged.rows_changed, staged.rows), (2, 2, Some(6)));
        publish(&lake.lake, staged).await.unwrap();
        let after = ["1,a", "2,a", "3,z", "5,c", "6,c", "7,z"];
        assert_eq!(lake.rows("s.t").await, after);
        assert_eq!(lake.files("s.t"), 3);

        // The hash is that of the same rows written at once.
        let whole = people(&[(7, "z"), (1, "a"), (6, "c"), (2, "a"), (5, "c"), (3, "z")]);
        lake.write("s.whole", WriteMode::Replace, whole).await.unwrap();
        let now = lake.lake.snapshot(At::Now).await.unwrap();
        let hash = |name: &str| now.get(&relation(name)).unwrap().hash.clone();
        assert_eq!(hash("s.t"), hash("s.whole"));
        assert_eq!(hash("s.t").is_some(), hash_rows > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_files_is_no_stage() {
    let lake = three_files(&[], 0).await;
    let base = lake.lake.snapshot(At::Now).await.unwrap();
    let none = lake.lake.by_file(&RelationName::new("s", "other"), &base, None).await.unwrap();
    assert!(none.is_none());
    let all = lake.lake.by_file(&relation("s.t"), &base, None).await.unwrap().unwrap();
    assert!(publish(&lake.lake, all).await.is_err());
    let unknown = WriteMode::ReplaceFiles { files: vec!["of nothing".to_owned()] };
    assert!(lake.stage("s.t", unknown, people(&[(1, "x")])).await.is_err());
    assert_eq!(lake.rows("s.t").await.len(), 6);
}

/// What was decided by rows that have changed, or that came since, is not published: not even where
/// rows are only added.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_files_conflicts_with_every_other() {
    for files in ["id = 1", "false"] {
        let lake = three_files(&[], 0).await;
        let mode = WriteMode::ReplaceFiles { files: files_of(&lake, files).await };
        let staged = lake.stage("s.t", mode, people(&[(9, "mine")])).await.unwrap();
        lake.write("s.t", WriteMode::Append, people(&[(9, "theirs")])).await.unwrap();
        let error = publish(&lake.lake, staged.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        lake.lake.discard(&staged).await.unwrap();
        assert_eq!(lake.rows("s.t").await.iter().filter(|row| row.starts_with('9')).count(), 1);
    }
}

/// A file between the least and the greatest new key that holds none of them is not even read.
#[tokio::test(flavor = "multi_thread")]
async fn files_without_any_of_the_keys_are_left_alone() {
    let lake = three_files(&[], 0).await;
    let folder = lake.folder.path().join("s/t");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    std::fs::rename(&files[1], folder.join("away")).unwrap();
    let staged = lake.stage("s.t", upsert(&["id"]), people(&[(6, "z"), (1, "z")])).await.unwrap();
    publish(&lake.lake, staged).await.unwrap();
    std::fs::rename(folder.join("away"), &files[1]).unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,z", "2,a", "3,b", "4,b", "5,c", "6,z"]);
}
