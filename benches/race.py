"""Runs Tidemill beside its peers on the same work and prints the figures side by side.

Each measured command is one process tree: CPU seconds (user + system, of the process and of every child
that it waited for), wall seconds and peak resident memory come from the kernel's accounting of that tree
(wait4). The tools take turns, so that a noisy minute hurts all of them; the figures are medians. What a
command needs first (an empty lake, a base table) is made before the clock starts, and what it made is
looked at by another program after the clock has stopped.

This file imports nothing but the standard library: a child begins with the memory of its parent on its
record, so a heavy parent would show in every figure.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent
TPCH_TABLES = "customer lineitem nation orders part partsupp region supplier".split()
OURS = "Tidemill"


class Failed(Exception):
    pass


@dataclasses.dataclass
class Measured:
    cpu: float
    wall: float
    rss: float  # MB


def measure(command, cwd, log):
    with open(log, "wb") as out:
        began = time.perf_counter()
        child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = pathlib.Path(log).read_text(errors="replace")[-1500:]
        raise Failed(f"exit code {child.returncode}: {' '.join(map(str, command))}\n{tail}")
    return Measured(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


@dataclasses.dataclass
class Tool:
    """One contender of a case. `run(attempt)` gives the command; the others return nothing."""

    name: str
    run: Callable
    once: Callable = lambda: None  # before the first attempt, not measured
    before: Callable = lambda attempt: None  # before each attempt, not measured
    after: Callable = lambda: None  # checks the result of the last attempt
    attempts: int | None = None  # fewer than asked for, where one takes minutes
    cwd: pathlib.Path | None = None
    note: str = ""


@dataclasses.dataclass
class Case:
    name: str
    title: str
    tools: list
    goal: str = ""
    # (our figures, everybody's figures) -> (reached, what was measured), or nothing where a peer is missing
    reach: Callable = lambda ours, of: None
    warm: bool = False  # run(attempt, passes): the figure is a pass after the first one


class Race:
    def __init__(self, options):
        self.options = options
        self.bench = pathlib.Path(options.bench).resolve()
        self.out = self.bench / "out"
        self.python = self.bench / "venv/bin/python"
        self.dbt = self.bench / "venv-dbt/bin/dbt"
        self.binary = options.binary

    # -- contenders

    def folder(self, case, tool, fresh=True):
        place = self.out / case / tool
        if fresh:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        return place

    def peer(self, case, name, task, *arguments, prepare=None, attempts=None, passes=False):
        """A task of peers.py. `prepare` is a task that makes what each attempt changes."""
        place, ready = self.out / case / task, self.out / case / f"{task}-ready"

        def call(task, out, *more):
            return [self.python, HERE / "peers.py", task, self.bench, out, *map(str, more)]

        def once():
            if prepare:
                self.empty(ready)
                self.quiet(call(prepare, ready))

        def before(attempt):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(ready, place) if prepare else place.mkdir(parents=True)

        if passes:
            return Tool(name, lambda attempt, count: call(task, place, count), once, before)
        return Tool(name, lambda attempt: call(task, place, *arguments), once, before, attempts=attempts)

    def tidemill(self, *arguments):
        return [self.binary, *map(str, arguments)]

    def project(self, case, name):
        """A fresh copy of a generated project, without a lake."""
        place = self.out / case / "tidemill"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.bench / "projects" / name, place)
        return place

    def ingest(self, case, table, rows, condition="true"):
        """Loads the one source of the project of the case's name into an empty lake."""
        place = self.out / case / "tidemill"
        return Tool(
            OURS,
            lambda attempt: self.tidemill("ingest", "--project-dir", place),
            before=lambda attempt: self.project(case, case),
            after=lambda: self.verify_rows(place, table, rows, condition),
        )

    # -- the work around a measurement

    def empty(self, place):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)

    def quiet(self, command, stdout=None):
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            said = (done.stdout or b"") + done.stderr
            raise Failed(f"exit code {done.returncode}: {' '.join(map(str, command))}\n{said.decode(errors='replace')[-1500:]}")

    def verify_rows(self, place, table, rows, condition="true"):
        self.quiet([self.python, HERE / "peers.py", "verify-rows", self.bench, place / "lake/main", table, rows, condition])

    def verify_models(self, place, changed=""):
        self.quiet([self.python, HERE / "peers.py", "verify-models", self.bench, place / "lake/main", changed])

    def verify_passed(self, place, count):
        results = json.loads((place / "target/run_results.json").read_text())["results"]
        passed = sum(result["status"] == "pass" for result in results)
        if passed != count or len(results) != count:
            raise Failed(f"{passed} of {len(results)} results passed, {count} expected")

    # -- running

    def attempt(self, tool, case, number):
        tool.before(number)
        log = self.out / case.name / "last.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if not case.warm:
            return measure(list(map(str, tool.run(number))), tool.cwd, log)
        first = measure(list(map(str, tool.run(number, 1))), tool.cwd, log)
        third = measure(list(map(str, tool.run(number, 3))), tool.cwd, log)
        return Measured((third.cpu - first.cpu) / 2, (third.wall - first.wall) / 2, third.rss)

    def run(self, case):
        samples, failures = {}, {}
        tools = [t for t in case.tools if self.options.only == "all" or t.name.startswith(OURS) == (self.options.only == "tidemill")]
        for tool in tools:
            say(f"{case.name}: {tool.name}: preparing")
            try:
                tool.once()
            except (Failed, OSError) as error:
                failures[tool.name] = str(error)
        for number in range(1, self.options.runs + 1):
            for tool in tools:
                if tool.name in failures or number > (tool.attempts or number):
                    continue
                try:
                    taken = self.attempt(tool, case, number)
                except (Failed, OSError) as error:
                    failures[tool.name] = str(error)
                    continue
                samples.setdefault(tool.name, []).append(taken)
                say(f"{case.name}: {tool.name}: {taken.cpu:.3f} CPU s, {taken.wall:.3f} s, {taken.rss:.0f} MB")
                # At once: the next tool may put its own work in the same place.
                try:
                    tool.after()
                except (Failed, OSError) as error:
                    failures[tool.name] = f"ran, but gave something wrong: {error}"
        for name, error in failures.items():
            say(f"{case.name}: {name}: FAILED: {error}")
        figures = {}
        for tool in tools:
            if tool.name in failures:
                figures[tool.name] = {"failed": failures[tool.name].splitlines()[0]}
            else:
                runs = samples[tool.name]
                figures[tool.name] = {
                    key: round(statistics.median(getattr(m, key) for m in runs), 4) for key in ("cpu", "wall", "rss")
                } | {"runs": [dataclasses.asdict(m) for m in runs], "note": tool.note}
        return figures


def cases(race):
    """All cases, in the order of the table in docs/performance.md."""
    bench, out, peer = race.bench, race.out, race.peer
    found = []

    def best(of, *names):
        values = [of[n]["cpu"] for n in names if n in of and "cpu" in of[n]]
        return min(values) if values else None

    def ratio(limit, *names):
        def judge(ours, of):
            least = best(of, *names)
            return None if least is None else (ours["cpu"] <= limit * least, f"{ours['cpu'] / least:.2f} x")

        return judge

    # 1. Files in.
    def csv_reach(ours, of):
        least = best(of, "Polars to Delta", "DuckDB to Parquet", "deltalake")
        if least is None:
            return None
        return (ours["cpu"] <= 0.9 * least and ours["rss"] < 300, f"{ours['cpu'] / least:.2f} x, {ours['rss']:.0f} MB")

    found.append(Case("csv", "lineitem CSV (6 million rows, 766 MB) to a published Delta table", [
        race.ingest("csv", "lineitem", 6_001_215),
        peer("csv", "Polars to Delta", "csv-polars"),
        peer("csv", "DuckDB to Parquet", "csv-duckdb"),
        peer("csv", "deltalake", "csv-deltalake"),
    ], "at most 0.9 x the best in CPU; below 300 MB", csv_reach))
    found.append(Case("csv_sf10", "the same at scale 10 (60 million rows, 7.7 GB): memory", [
        dataclasses.replace(race.ingest("csv_sf10", "lineitem", 59_986_052), attempts=1),
    ], "at most 1.3 x the memory at scale 1"))
    found.append(Case("wide", "messy wide CSV (500,000 rows x 60) to Delta", [
        race.ingest("wide", "wide", 500_000),
        peer("wide", "DuckDB to Parquet", "wide-duckdb"),
        peer("wide", "Polars to Delta", "wide-polars"),
    ], "at most DuckDB", ratio(1.0, "DuckDB to Parquet")))
    found.append(Case("events", "nested NDJSON (1 million rows) to Delta", [
        race.ingest("events", "events", 1_000_000),
        peer("events", "DuckDB to Parquet", "events-duckdb"),
        peer("events", "Polars to Delta", "events-polars"),
    ], "at most DuckDB", ratio(1.0, "DuckDB to Parquet")))

    # 2. A project of 500 models.
    built = out / "models_again/tidemill"
    changed = built / "models/layer_2/model_251.sql"

    def build_once():
        race.project("models_again", "models")
        race.quiet(race.tidemill("build", "--project-dir", built))

    def change(number):
        text = re.sub(r" and a\.id <> \d+$", "", changed.read_text().strip())
        changed.write_text(f"{text} and a.id <> {number * 10 + 7}\n")

    def last_change():
        return re.search(r" and a\.id <> \d+$|$", changed.read_text().strip()).group()

    def dbt(place, *arguments):
        profiles = bench / "projects/profiles"
        return [race.dbt, "--no-send-anonymous-usage-stats", *arguments, "--project-dir", place,
                "--profiles-dir", profiles, "--profile", "models"]

    def dbt_fresh(attempt=None):
        place = race.folder("models", "dbt")
        shutil.copytree(bench / "projects/models", place, dirs_exist_ok=True)
        return place

    dbt_place = out / "models/dbt"
    has_dbt = race.dbt.exists()
    dbt_again = out / "models_again/dbt"

    def dbt_once():
        shutil.rmtree(dbt_again, ignore_errors=True)
        shutil.copytree(bench / "projects/models", dbt_again)
        subprocess.run(list(map(str, dbt(dbt_again, "build"))), cwd=dbt_again, stdout=subprocess.DEVNULL, check=True)

    found.append(Case("models", "`build` of 500 models (half views) with 1,000 tests, first time, with syncs", [
        Tool(OURS, lambda attempt: race.tidemill("build", "--project-dir", out / "models/tidemill"),
             before=lambda attempt: race.project("models", "models"),
             after=lambda: race.verify_models(out / "models/tidemill")),
        peer("models", "the same SQL in bare DuckDB", "models-duckdb"),
        *([Tool("dbt build (DuckDB)", lambda attempt: dbt(dbt_place, "build"), before=dbt_fresh, attempts=1, cwd=dbt_place)] if has_dbt else []),
    ], "at most 1.5 x the bare SQL", ratio(1.5, "the same SQL in bare DuckDB")))
    found.append(Case("models_again", "the same again, unchanged", [
        Tool(OURS, lambda attempt: race.tidemill("build", "--project-dir", built), once=build_once),
        *([Tool("dbt ls", lambda attempt: dbt(dbt_again, "ls"), once=dbt_once, attempts=1, cwd=dbt_again),
           Tool("dbt run", lambda attempt: dbt(dbt_again, "run"), attempts=1, cwd=dbt_again)] if has_dbt else []),
    ], "wall below 0.2 s", lambda ours, of: (ours["wall"] < 0.2, f"{ours['wall']:.2f} s")))
    found.append(Case("models_changed", "the same, one model of the middle changed", [
        Tool(OURS, lambda attempt: race.tidemill("build", "--project-dir", built),
             once=lambda: None if changed.exists() and (built / "lake").exists() else build_once(), before=change,
             after=lambda: race.verify_models(built, last_change())),
    ], "wall below 0.4 s", lambda ours, of: (ours["wall"] < 0.4, f"{ours['wall']:.2f} s")))

    # 3. Twenty checks.
    checked = out / "checks/tidemill"

    def load_checked():
        race.project("checks", "checks")
        race.quiet(race.tidemill("ingest", "--project-dir", checked))

    found.append(Case("checks", "20 checks on lineitem", [
        Tool(OURS, lambda attempt: race.tidemill("test", "--project-dir", checked, "--no-reuse"), once=load_checked,
             after=lambda: race.verify_passed(checked, 20)),
        peer("checks", "Polars by hand", "checks-polars"),
        peer("checks", "DuckDB by hand, fused", "checks-duckdb"),
    ], "at most 0.8 x the best by hand", ratio(0.8, "Polars by hand", "DuckDB by hand, fused")))

    # 4. Upserts. The lake of the base is kept and put back before each attempt.
    place, kept = out / "upsert/tidemill", out / "upsert/kept"

    def load_base():
        if (kept / "lake").exists() and (kept / "binary").read_text() == stamp(race.binary):
            return
        race.project("upsert", "upsert")
        (place / "data").mkdir()
        os.link(bench / "upsert/base.parquet", place / "data/0-base.parquet")
        race.quiet(race.tidemill("ingest", "--project-dir", place))
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for part in ("lake", ".tidemill"):
            if (place / part).exists():
                shutil.copytree(place / part, kept / part, copy_function=shutil.copy2)
        (kept / "binary").write_text(stamp(race.binary))

    def put_back(changes):
        def before(attempt):
            for part in ("lake", ".tidemill"):
                shutil.rmtree(place / part, ignore_errors=True)
                if (kept / part).exists():
                    shutil.copytree(kept / part, place / part, copy_function=shutil.copy2)
            (place / "data/1-changes.parquet").unlink(missing_ok=True)
            if changes:
                os.link(bench / f"upsert/changes-{changes}.parquet", place / "data/1-changes.parquet")

        return before

    def verify_upsert():
        race.verify_rows(place, "base", 6_021_215)
        race.verify_rows(place, "base", 100_000, "l_comment like 'changed %'")

    for changes, title, goal in (
        ("spread", "spread over the whole table", "at most 1.25 x the rewrite by the same writer; below 600 MB"),
        ("newest", "within the newest tenth", "below 1.5 CPU s; below 600 MB"),
    ):
        name = f"upsert_{changes}"

        def reach(ours, of, changes=changes):
            if changes == "newest":
                return (ours["cpu"] < 1.5 and ours["rss"] < 600, f"{ours['cpu']:.2f} CPU s, {ours['rss']:.0f} MB")
            least = best(of, "Tidemill, rewrite of the table")
            return None if least is None else (
                ours["cpu"] <= 1.25 * least and ours["rss"] < 600, f"{ours['cpu'] / least:.2f} x, {ours['rss']:.0f} MB")

        found.append(Case(name, f"upsert of 100,000 rows into 6 million, {title}", [
            Tool(OURS, lambda attempt: race.tidemill("ingest", "--project-dir", place),
                 once=load_base, before=put_back(changes), after=verify_upsert),
            *([Tool("Tidemill, rewrite of the table",
                    lambda attempt: race.tidemill("run", "--project-dir", place, "--select", "rewrite", "--no-reuse"),
                    once=load_base, before=put_back(None))] if changes == "spread" and race.options.only != "peers" else []),
            peer(name, "DuckDB rewrites the Parquet file", "upsert-duckdb-rewrite", changes),
            peer(name, "deltalake MERGE", "upsert-deltalake", changes, prepare="upsert-deltalake-prepare"),
            peer(name, "DuckDB's own store", "upsert-duckdb", changes, prepare="upsert-duckdb-prepare"),
        ], goal, reach))

    # 5. TPC-H.
    lake = out / "tpch/tidemill"

    def load_tpch():
        race.project("tpch", "tpch")
        race.quiet(race.tidemill("ingest", "--project-dir", lake))
        queries = [(HERE / f"tpch/q{n}.sql").read_text().strip() for n in range(1, 23)]
        for passes in (1, 3):
            (lake / f"passes-{passes}.sql").write_text(";\n\n".join(queries * passes) + ";\n")
        answers = lake / "answers"
        answers.mkdir()
        for n in range(1, 23):
            with open(answers / f"q{n}.csv", "wb") as file:
                race.quiet(race.tidemill("sql", "--project-dir", lake, "--format", "csv", "--file", HERE / f"tpch/q{n}.sql"), file)
        race.quiet([race.python, HERE / "peers.py", "verify-answers", bench, lake, answers])

    found.append(Case("tpch", "22 TPC-H queries, scale 1, over published tables, warm", [
        Tool(OURS, lambda attempt, passes: race.tidemill(
            "sql", "--project-dir", lake, "--format", "csv", "--file", lake / f"passes-{passes}.sql"), once=load_tpch),
        peer("tpch", "DuckDB on Parquet", "tpch-duckdb", passes=True),
        peer("tpch", "Polars on Parquet", "tpch-polars", passes=True),
    ], "at most 1.4 x DuckDB", ratio(1.4, "DuckDB on Parquet"), warm=True))

    # 6. Start-up.
    found.append(Case("start", "start-up without work", [
        Tool(OURS, lambda attempt: race.tidemill("--version")),
        Tool("import duckdb", lambda attempt: [race.python, "-c", "import duckdb"]),
        *([Tool("dbt --version", lambda attempt: [race.dbt, "--version"], attempts=1)] if has_dbt else []),
    ], "below 20 ms and 40 MB", lambda ours, of: (
        ours["wall"] < 0.02 and ours["rss"] < 40, f"{ours['wall'] * 1000:.0f} ms, {ours['rss']:.0f} MB")))
    return found


def stamp(binary):
    status = os.stat(binary)
    return f"{status.st_size} {status.st_mtime_ns}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def seconds(value):
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def table(all_cases, figures):
    """The figures as Markdown, a row for each contender; the ratio is CPU to Tidemill's."""
    lines = ["| work | tool | CPU s | wall s | peak MB | CPU beside Tidemill's |", "| --- | --- | --: | --: | --: | --: |"]
    verdicts = []
    for case in all_cases:
        found = figures.get(case.name)
        if not found:
            continue
        ours = found.get(OURS, {})
        title = case.title
        for name, taken in found.items():
            if "failed" in taken:
                lines.append(f"| {title} | {name} | failed | | | |")
            else:
                ratio = f"{taken['cpu'] / ours['cpu']:.2f} x" if name != OURS and ours.get("cpu") else ""
                shown = f"**{name}**" if name == OURS else name
                lines.append(f"| {title} | {shown} | {seconds(taken['cpu'])} | {seconds(taken['wall'])} | {taken['rss']:.0f} | {ratio} |")
            title = ""
        if case.goal and "cpu" in ours:
            judged = case.reach(ours, found)
            if judged is not None:
                verdicts.append(f"| {case.title} | {case.goal} | {judged[1]} | {'yes' if judged[0] else '**no**'} |")
    if "rss" in figures.get("csv_sf10", {}).get(OURS, {}) and "rss" in figures.get("csv", {}).get(OURS, {}):
        times = figures["csv_sf10"][OURS]["rss"] / figures["csv"][OURS]["rss"]
        verdicts.append(f"| lineitem CSV at scale 10 | at most 1.3 x the memory at scale 1 | {times:.2f} x | {'yes' if times <= 1.3 else '**no**'} |")
    if verdicts:
        lines += ["", "| work | goal | measured | reached |", "| --- | --- | --- | --- |", *verdicts]
    return "\n".join(lines)


def main():
    names = "csv csv_sf10 wide events models models_again models_changed checks upsert_spread upsert_newest tpch start".split()
    parser = argparse.ArgumentParser(prog="benches/run", description="Races Tidemill beside its peers.")
    parser.add_argument("case", nargs="*", help=f"of: {', '.join(names)} (all but csv_sf10 when none is named)")
    parser.add_argument("--only", choices=("all", "tidemill", "peers"), default="all")
    parser.add_argument("--runs", type=int, default=3, help="attempts of each tool; the figures are medians (3)")
    parser.add_argument("--json", help="write the figures to this file; those of other cases and tools in it stay")
    parser.add_argument("--show", action="store_true", help="print the table of --json without running anything")
    parser.add_argument("--bench", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--binary", help="the tidemill to race (default: a release build of this checkout)")
    options = parser.parse_args()
    if unknown := set(options.case) - set(names):
        parser.error(f"no case is called {', '.join(sorted(unknown))}; there are: {', '.join(names)}")

    race = Race(options)
    everything = cases(race)
    record = {"figures": {}}
    if options.json and os.path.exists(options.json):
        record = json.loads(pathlib.Path(options.json).read_text())
    if not options.show:
        wanted = options.case or [n for n in names if n != "csv_sf10"]
        before = os.getloadavg()[0]
        for case in everything:
            if case.name in wanted:
                figures = race.run(case)
                record["figures"].setdefault(case.name, {}).update(figures)
                record |= {
                    "machine": f"{os.cpu_count()} x {cpu_model()}, {platform.system()} {platform.release()}",
                    "load": [round(before, 1), round(os.getloadavg()[0], 1)],
                    "when": time.strftime("%Y-%m-%d %H:%M"),
                }
                if options.json:
                    pathlib.Path(options.json).write_text(json.dumps(record, indent=1) + "\n")
    if "machine" in record:
        print(f"{record['machine']}; load average {record['load'][0]} before, {record['load'][1]} after; {record['when']}\n")
    print(table(everything, record["figures"]))
    failed = any("failed" in taken for found in record["figures"].values() for taken in found.values())
    return 1 if failed else 0


def cpu_model():
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
