//! Killed at any step and run again: the rows of one clean run. Two at once: both are whole.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::sandbox::{Sandbox, outcome};

/// A project that does every kind of write: append (a source), replace, merge, partitions, a view,
/// a snapshot.
fn project() -> Sandbox {
    let incremental = |config: &str| {
        format!(
            "{{{{ config(materialized='incremental', {config}) }}}}\nselect id, day, v from {{{{ source('raw', 'e') }}}}\n{{% if is_incremental() %}}where id > (select max(id) - 2 from {{{{ this }}}}){{% endif %}}"
        )
    };
    Sandbox::new(&[
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables: [{name: e, ingest: {location: 'data/e*.csv', mode: append}}]\n",
        ),
        (
            "models/replaced.sql",
            "{{ config(materialized='table') }}\nselect day, sum(v) as v from {{ source('raw', 'e') }} group by day",
        ),
        ("models/merged.sql", &incremental("incremental_strategy='merge', unique_key='id'")),
        (
            "models/parts.sql",
            &incremental("incremental_strategy='insert_overwrite', partition_by=['day']"),
        ),
        ("models/seen.sql", "select * from {{ ref('replaced') }}"),
        // Its time is a number, so that it is the same in every run.
        (
            "snapshots/kept.yml",
            "snapshots:\n  - name: kept\n    relation: ref('replaced')\n    config: {strategy: check, check_cols: all, unique_key: day, updated_at: v}\n",
        ),
        ("data/e1.csv", "id,day,v\n1,a,1\n2,a,2\n3,b,3\n"),
    ])
}

const SECOND: &str = "id,day,v\n4,b,4\n5,c,5\n";

const QUERIES: [&str; 6] = [
    "select id, day, v from raw.e order by 1, 2, 3",
    "select * from replaced order by 1",
    "select id, day, v from merged order by 1, 2, 3",
    "select id, day, v from parts order by 1, 2, 3",
    "select * from seen order by 1",
    "select day, v, dbt_valid_from, dbt_valid_to from kept order by 1, 2",
];

fn state(sandbox: &Sandbox) -> Vec<Vec<String>> {
    QUERIES.iter().map(|query| sandbox.rows(query)).collect()
}

/// Says loudly that something was not tested.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// The tables as another engine reads them: `deltalake` for Python, which knows nothing of us.
fn state_of_an_independent_reader(sandbox: &Sandbox) -> Option<Vec<Vec<String>>> {
    const SCRIPT: &str = "
import os, sys
from deltalake import DeltaTable
for line in sys.argv[2:]:
    path, columns = line.split(':')
    table = DeltaTable(sys.argv[1] + '/lake/' + path).to_pyarrow_table(columns=columns.split(','))
    for row in sorted(','.join(str(value) for value in row.values()) for row in table.to_pylist()):
        print(row)
    print('--')
# Not through the interpreter's end: threads of the reader may still run there, and abort.
sys.stdout.flush()
os._exit(0)
";
    let Some(python) = std::env::var_os("TIDEMILL_PYTHON") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must set TIDEMILL_PYTHON (scripts/test does)"
        );
        skipped("no independent reader; run scripts/test, which sets TIDEMILL_PYTHON");
        return None;
    };
    let tables =
        ["raw/e:id,day,v", "main/replaced:day,v", "main/merged:id,day,v", "main/parts:id,day,v"];
    let outcome = outcome(
        std::process::Command::new(python).args(["-c", SCRIPT]).arg(sandbox.root()).args(tables),
    )
    .ok();
    let mut found: Vec<Vec<String>> = outcome
        .stdout
        .split("--\n")
        .map(|rows| rows.lines().map(str::to_owned).collect())
        .collect();
    found.pop();
    Some(found)
}

/// The state after both builds without any accident.
fn clean_run(arguments: &[&str]) -> Vec<Vec<String>> {
    let sandbox = project();
    sandbox.run(arguments).ok();
    sandbox.write("data/e2.csv", SECOND);
    sandbox.run(arguments).ok();
    state(&sandbox)
}

/// The steps of a publish at which a build is killed.
pub(crate) const STEPS: [&str; 8] = [
    "stage.before-file",
    "stage.after-file",
    "publish.before-intent",
    "publish.after-intent",
    "publish.before-commit",
    "publish.after-commit",
    "publish.before-entry",
    "publish.after-entry",
];

fn killed_everywhere(arguments: &[&str]) {
    let expected = clean_run(arguments);
    for step in STEPS {
        let sandbox = project();
        sandbox.run(arguments).ok();
        sandbox.write("data/e2.csv", SECOND);
        let mut died = 0;
        // Twice over: the run after a crash may crash as well.
        for _ in 0..2 {
            died += u32::from(sandbox.dies_at(step, arguments));
        }
        assert!(died > 0, "{step} never fired");
        sandbox.run(arguments).ok();
        assert_eq!(state(&sandbox), expected, "killed at {step}");
        if let Some(found) = state_of_an_independent_reader(&sandbox) {
            assert_eq!(found, expected[..4], "killed at {step}, read by deltalake");
        }
        sandbox.run(arguments).ok().says("nothing to do");
    }
}

#[test]
fn a_build_killed_at_any_step_is_made_whole_by_the_next() {
    killed_everywhere(&["build"]);
}

#[test]
fn a_whole_run_killed_at_any_step_is_made_whole_by_the_next() {
    killed_everywhere(&["build", "--publish", "run"]);
}

#[test]
fn two_builds_at_once_leave_what_one_would() {
    let expected = clean_run(&["build"]);
    let sandbox = project();
    sandbox.build().ok();
    sandbox.write("data/e2.csv", SECOND);
    let spawn = || {
        sandbox.command(&["build"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [spawn(), spawn()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(state(&sandbox), expected);
}

/// Sends a signal to a process of ours.
fn signal(child: &std::process::Child, name: &str) {
    let sent = outcome(std::process::Command::new("kill").args([name, &child.id().to_string()]));
    assert_eq!(sent.code, Some(0), "{}", sent.all());
}

/// Whether the kernel holds the process after SIGSTOP: state `T`.
fn is_stopped(child: &std::process::Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

#[test]
fn a_build_that_is_stopped_between_steps_finds_another_ones_publish() {
    let expected = clean_run(&["build"]);
    for step in [
        "stage.after-file",
        "publish.before-intent",
        "publish.after-intent",
        "publish.after-commit",
        "publish.before-entry",
    ] {
        let sandbox = project();
        sandbox.build().ok();
        sandbox.write("data/e2.csv", SECOND);
        let (go, reached) = (sandbox.path("here.go"), sandbox.path("here.reached"));
        let mut slow = sandbox
            .command(&["build"])
            .env("TIDEMILL_FAILPOINT", format!("{step}=pause:{}", go.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !reached.exists() {
            assert!(slow.try_wait().unwrap().is_none(), "{step} never fired");
            std::thread::yield_now();
        }
        signal(&slow, "-STOP");
        while !is_stopped(&slow) {
            std::thread::yield_now();
        }
        std::fs::write(&go, "").unwrap();
        // Another build does the same work meanwhile, and does not wait for the one that is stopped.
        sandbox.build().ok();
        assert_eq!(state(&sandbox), expected, "the other build while one is stopped at {step}");
        assert!(is_stopped(&slow), "{step}");
        signal(&slow, "-CONT");
        let output = slow.wait_with_output().unwrap();
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(state(&sandbox), expected, "stopped at {step}");
        if let Some(found) = state_of_an_independent_reader(&sandbox) {
            assert_eq!(found, expected[..4], "stopped at {step}, read by deltalake");
        }
        sandbox.build().ok().says("nothing to do");
    }
}

/// Whether the tests of crashes run at their full size, and the seed of what happens by chance.
pub(crate) fn soak() -> (bool, u64) {
    let written = std::env::var("TIDEMILL_SOAK_SEED").ok().and_then(|text| text.parse().ok());
    (std::env::var_os("TIDEMILL_SOAK").is_some(), written.unwrap_or(20_130_101))
}

/// A number below `below`, by SplitMix64.
pub(crate) fn random(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) % below
}

#[test]
fn builds_killed_at_any_time_lose_and_double_nothing() {
    let (soak, mut seed) = soak();
    let rounds = if soak { 300 } else { 6 };
    let (sandbox, clean) = (project(), project());
    let both = [&sandbox, &clean];
    let began = std::time::Instant::now();
    clean.build().ok();
    // Kills fall anywhere in a build, and some behind its end.
    let mut span = u64::try_from(began.elapsed().as_micros()).unwrap() * 12 / 10;
    let mut died = 0;
    for round in 0..rounds {
        for _ in 0..1 + random(&mut seed, 2) {
            let mut child = sandbox
                .command(&["build"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let until = std::time::Duration::from_micros(random(&mut seed, span));
            std::thread::park_timeout(until);
            // It may be done already.
            let _ = child.kill();
            died += u32::from(child.wait().unwrap().signal().is_some());
        }
        sandbox.build().ok();
        if soak || round + 1 == rounds {
            assert_eq!(state(&sandbox), state(&clean), "round {round}, seed {seed}");
        }
        let first = 10 * (round + 2);
        let day = ["a", "b", "c", "d"][random(&mut seed, 4) as usize];
        let rows: String =
            (first..first + 5).map(|id| format!("{id},{day},{}\n", id % 7)).collect();
        for one in both {
            one.write(&format!("data/e{}.csv", round + 2), format!("id,day,v\n{rows}"));
        }
        let began = std::time::Instant::now();
        clean.build().ok();
        span = u64::try_from(began.elapsed().as_micros()).unwrap() * 12 / 10;
    }
    assert!(died > 0, "no build was killed");
    sandbox.build().ok();
    assert_eq!(state(&sandbox), state(&clean), "seed {seed}");
    if let (Some(found), Some(expected)) =
        (state_of_an_independent_reader(&sandbox), state_of_an_independent_reader(&clean))
    {
        assert_eq!(found, expected, "read by deltalake");
    }
    sandbox.build().ok().says("nothing to do");
}

#[test]
fn a_full_disk_is_one_clear_error_and_the_lake_stays_whole() {
    let sandbox = project();
    let mount = sandbox.path("lake");
    std::fs::create_dir_all(&mount).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&mount)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        skipped("a tmpfs cannot be mounted here (needs root)");
        return;
    }
    sandbox.build().ok();
    let before = state(&sandbox);
    let mut rows = String::from("id,day,v\n");
    for id in 100..200_000u64 {
        // Noise that no encoding makes small (SplitMix64).
        let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let noise = mixed ^ (mixed >> 27);
        rows.push_str(&format!("{id},d,{}\n", noise >> 24));
    }
    sandbox.write("data/e2.csv", &rows);
    let full = sandbox.build();
    let after = state(&sandbox);
    // Room again: the same build goes through.
    let room = std::process::Command::new("mount")
        .args(["-o", "remount,size=200m"])
        .arg(&mount)
        .status()
        .is_ok_and(|status| status.success());
    let again = room.then(|| sandbox.build());
    let count = again.as_ref().map(|_| sandbox.value("select count(*) from raw.e"));
    let _ = std::process::Command::new("umount").arg("-l").arg(&mount).status();
    let full = full.fails_with(1);
    assert!(full.all().to_lowercase().contains("no space"), "{}", full.all());
    assert_eq!(before, after);
    again.unwrap().ok();
    assert_eq!(count.as_deref(), Some("199903"));
}

#[test]
fn an_interrupted_build_says_so_and_leaves_nothing_half_done() {
    let sandbox = Sandbox::new(&[(
        "models/slow.sql",
        "{{ config(materialized='table') }}\nselect count(*) as n from generate_series(1, 300000) as a (x) cross join generate_series(1, 300000) as b (y)",
    )]);
    let mut command = sandbox.command(&["build"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The lake's folder appears when the build has begun.
    while !sandbox.path("lake").exists() {
        std::thread::yield_now();
    }
    let interrupted =
        outcome(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(interrupted.code, Some(0));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sandbox.run(&["lake", "list", "--format", "json"]).ok().stdout, "");
    assert!(sandbox.root().exists());
}
