#!/usr/bin/env python3
"""What examples/flights must give, worked out by programs that are not ours.

Without arguments: copies the example to a scratch folder, loads the source files with DuckDB,
builds the project with dbt-core and dbt-duckdb, and writes examples/flights/expected.json (rows
and a summary of every column of every seed and model; the verdict of every test). It also builds
once without December and then adds it, and fails if the increment gives anything else.

  flights-oracle.py                                     write expected.json
  flights-oracle.py --lake examples/flights/lake        compare the Delta tables of a lake
  flights-oracle.py --compare DIR                       compare DIR/<model>.parquet
  flights-oracle.py --run-results target/run_results.json   compare test verdicts
The last three can be combined; each difference is printed, and any means exit code 1.

Needs, in a virtual environment outside the repository:
  pip install 'dbt-core<1.12' dbt-duckdb deltalake pyarrow
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import duckdb

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples" / "flights"
EXPECTED = EXAMPLE / "expected.json"
SOURCES = {
    "flights": "data/flights-2013-*.csv.gz",
    "weather": "data/weather.csv.gz",
    "airports": "data/airports.csv",
    "planes": "data/planes.csv",
    "airlines": "data/airlines.csv",
}
HELD_BACK = "data/flights-2013-12.csv.gz"
# Sums of floats depend on the order of addition; everything else is compared exactly.
TOLERANCE = 1e-9

# dbt itself needs these tests from packages; the example needs none. Same meaning, same names.
PACKAGES = {
    "dbt_utils": """
{% test unique_combination_of_columns(model, combination_of_columns) %}
select {{ combination_of_columns | join(', ') }} from {{ model }}
group by {{ combination_of_columns | join(', ') }} having count(*) > 1
{% endtest %}
{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
select * from {{ model }} where 1 = 2
{%- if min_value is not none %}
or not {{ column_name }} >{{ '=' if inclusive }} {{ min_value }}
{%- endif %}
{%- if max_value is not none %}
or not {{ column_name }} <{{ '=' if inclusive }} {{ max_value }}
{%- endif %}
{% endtest %}
{% test expression_is_true(model, expression, column_name=none) %}
select * from {{ model }} where not({{ column_name if column_name }} {{ expression }})
{% endtest %}
""",
    "dbt_expectations": """
{% test expect_column_values_to_match_regex(model, column_name, regex) %}
select * from {{ model }} where not regexp_matches({{ column_name }}, '{{ regex }}')
{% endtest %}
""",
}


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def load_sources(database, project, without=()):
    """The raw tables, as the ingest defines them: NA is NULL, types inferred, origin of each row."""
    connection = duckdb.connect(str(database))
    connection.execute("set timezone = 'UTC'")
    connection.execute("create schema if not exists raw_nyc")
    for table, pattern in SOURCES.items():
        files = sorted(p.relative_to(project).as_posix() for p in project.glob(pattern))
        if not files:
            raise SystemExit(f"no file matches {pattern}")
        parts = [
            f"select *, '{file}' as _source_file, row_number() over () as _source_row"
            f" from read_csv('{project / file}', nullstr = 'NA', header = true, sample_size = -1)"
            for file in files
            if file not in without
        ]
        connection.execute(f"create or replace table raw_nyc.{table} as {' union all '.join(parts)}")
    connection.close()


def build(scratch, project, database):
    """Runs `dbt build`; gives the manifest's relations and the verdicts of the tests."""
    text(
        scratch / "profiles" / "profiles.yml",
        "flights:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n"
        f"      path: {database}\n      schema: main\n      threads: 2\n"
        "      settings: {TimeZone: UTC}\n",
    )
    for package, macros in PACKAGES.items():
        folder = project / "dbt_packages" / package
        text(folder / "dbt_project.yml", f"name: {package}\nversion: '1.0'\nconfig-version: 2\n")
        text(folder / "macros" / "tests.sql", macros)
    command = [pathlib.Path(sys.executable).with_name("dbt"), "build", "--profile", "flights"]
    command += ["--profiles-dir", scratch / "profiles", "--project-dir", project]
    environment = dict(os.environ, DBT_SEND_ANONYMOUS_USAGE_STATS="false")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    (scratch / "dbt.log").write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise SystemExit(f"dbt build failed:\n{done.stdout}{done.stderr}")
    manifest = json.loads((project / "target" / "manifest.json").read_text())
    relations = {
        node["name"]: {"schema": node["schema"], "materialized": node["config"]["materialized"]}
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
    }
    return relations, verdicts(project / "target" / "run_results.json")


def verdicts(run_results):
    """Test name (without the hash that ends a unique_id) -> status and number of failures."""
    found = {}
    for result in json.loads(pathlib.Path(run_results).read_text())["results"]:
        kind, _, name = result["unique_id"].split(".")[:3]
        if kind == "test":
            found[name] = {"status": result["status"], "failures": result["failures"] or 0}
    return found


def kind_of(duckdb_type):
    base = duckdb_type.upper()
    if base == "BOOLEAN":
        return "boolean"
    if base in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"):
        return "integer"
    if base in ("FLOAT", "DOUBLE") or base.startswith("DECIMAL"):
        return "float"
    if base == "DATE":
        return "date"
    if base.startswith("TIMESTAMP"):
        return "timestamp"
    if base == "VARCHAR":
        return "text"
    return base.lower()


def plain(column, kind):
    """The value as text that does not depend on the engine."""
    quoted = f'"{column}"'
    if column == "_source_file":  # where the project lies is not part of the result
        return f"regexp_replace({quoted}, '^.*/', '')"
    if kind == "timestamp":
        return f"cast(epoch_us(cast({quoted} as timestamptz)) as varchar)"
    return f"cast({quoted} as varchar)"


def digest(expression):
    """A sum over rows, so it does not depend on their order."""
    return f"sum(cast('0x' || left(md5({expression}), 12) as hugeint))"


def summary(connection, relation):
    columns = connection.execute(f"describe select * from {relation}").fetchall()
    kinds = {name: kind_of(data_type) for name, data_type, *_ in columns}
    wanted, names = ["count(*)"], [(None, "rows")]

    def want(column, measure, expression):
        wanted.append(expression)
        names.append((column, measure))

    exact = []
    for name, kind in kinds.items():
        quoted = f'"{name}"'
        want(name, "nulls", f"count(*) - count({quoted})")
        if name == "_source_row":  # whether a header counts is not part of the result
            continue
        value = plain(name, kind)
        if kind == "float":
            want(name, "sum", f"sum(cast({quoted} as double))")
            want(name, "min", f"min(cast({quoted} as double))")
            want(name, "max", f"max(cast({quoted} as double))")
            continue
        exact.append(f"coalesce({value}, '~')")
        want(name, "distinct", f"count(distinct {value})")
        if kind == "integer":
            want(name, "sum", f"cast(sum({quoted}) as hugeint)")
            want(name, "min", f"min({quoted})")
            want(name, "max", f"max({quoted})")
        elif kind == "boolean":
            want(name, "true", f"count(*) filter (where {quoted})")
        else:
            want(name, "min", f"min({value})")
            want(name, "max", f"max({value})")
            want(name, "digest", digest(value))
    # All but floats, row by row: finds values that changed places.
    want(None, "digest", digest(" || '|' || ".join(exact)))
    values = connection.execute(f"select {', '.join(wanted)} from {relation}").fetchall()[0]
    result = {"columns": {name: {"type": kind} for name, kind in kinds.items()}}
    for (column, measure), value in zip(names, values):
        target = result if column is None else result["columns"][column]
        # Digests outgrow what other JSON readers hold exactly.
        target[measure] = str(value) if measure == "digest" else value
    return {"rows": result["rows"], "digest": result["digest"], "columns": result["columns"]}


def summaries(database, relations):
    connection = duckdb.connect(str(database), read_only=True)
    connection.execute("set timezone = 'UTC'")
    found = {}
    for name, relation in sorted(relations.items()):
        found[name] = relation | summary(connection, f'"{relation["schema"]}"."{name}"')
    connection.close()
    return found


def same(expected, actual):
    if isinstance(expected, float) or isinstance(actual, float):
        if expected is None or actual is None:
            return expected is actual
        return math.isclose(expected, actual, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return expected == actual


def differences(name, expected, actual):
    found = [
        (name, "", measure, expected[measure], actual[measure])
        for measure in ("rows", "digest")
        if not same(expected[measure], actual[measure])
    ]
    for column in {**expected["columns"], **actual["columns"]}:
        left, right = expected["columns"].get(column), actual["columns"].get(column)
        if left is None or right is None:
            found.append((name, column, "column", "present" if left else "absent", "present" if right else "absent"))
            continue
        for measure in {**left, **right}:
            if not same(left.get(measure), right.get(measure)):
                found.append((name, column, measure, left.get(measure), right.get(measure)))
    return found


def write_expected():
    with tempfile.TemporaryDirectory(prefix="flights-oracle-") as folder:
        scratch = pathlib.Path(folder)
        project = scratch / "project"
        shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("lake", "target", "logs"))
        whole, stepwise = scratch / "whole.duckdb", scratch / "stepwise.duckdb"
        load_sources(whole, project)
        relations, tests = build(scratch, project, whole)
        models = summaries(whole, relations)

        load_sources(stepwise, project, without=(HELD_BACK,))
        _, tests_without = build(scratch, project, stepwise)
        before = summaries(stepwise, relations)
        load_sources(stepwise, project)
        _, tests_again = build(scratch, project, stepwise)
        increment = []
        for name, actual in summaries(stepwise, relations).items():
            increment += differences(name, models[name], actual)
        if tests != tests_again:
            increment.append(("tests", "", "verdicts", "as of a full build", "others"))
        if report(increment):
            raise SystemExit("adding December gives something else than a full build")

        expected = {
            "made_by": "scripts/flights-oracle.py",
            "models": models,
            "tests": dict(sorted(tests.items())),
            "without_december": {
                "rows": {name: found["rows"] for name, found in before.items()},
                "tests": {name: tests_without[name] for name in sorted(tests) if tests_without[name] != tests[name]},
            },
        }
        EXPECTED.write_text(json.dumps(expected, indent=1, default=str) + "\n")
    for name, found in models.items():
        print(f"{found['schema'] + '.' + name:36} {found['materialized']:12} {found['rows']:>9,}")
    for name, verdict in sorted(tests.items(), key=lambda item: item[1]["status"]):
        if verdict["status"] != "pass":
            print(f"{verdict['status']:5} {name}: {verdict['failures']:,}")
    print(f"{len(tests)} tests; wrote {EXPECTED}")


def report(found):
    if found:
        rows = [("model", "column", "what", "expected", "found")] + [tuple(map(str, row)) for row in found]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return len(found)


def compare(options):
    expected = json.loads(EXPECTED.read_text())
    found = []
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    for name, wanted in expected["models"].items():
        if options.compare:
            path = pathlib.Path(options.compare) / f"{name}.parquet"
            if not path.is_file():
                found.append((name, "", "file", str(path), "absent"))
                continue
            found += differences(name, wanted, summary(connection, f"read_parquet('{path}')"))
        if options.lake:
            if wanted["materialized"] == "view":
                print(f"skipped {name}: a view has no files")
                continue
            path = pathlib.Path(options.lake) / wanted["schema"] / name
            if not (path / "_delta_log").is_dir():
                found.append((name, "", "table", str(path), "absent"))
                continue
            from deltalake import DeltaTable

            connection.register("delta_table", DeltaTable(str(path)).to_pyarrow_dataset())
            found += differences(name, wanted, summary(connection, "delta_table"))
            connection.unregister("delta_table")
    if options.run_results:
        actual = verdicts(options.run_results)
        for name in {**expected["tests"], **actual}:
            if expected["tests"].get(name) != actual.get(name):
                found.append((name, "", "test", expected["tests"].get(name), actual.get(name)))
    if report(found):
        print(f"{len(found)} differences")
        return 1
    print("no differences")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", metavar="DIR", help="a folder with <model>.parquet for every seed and model")
    parser.add_argument("--lake", metavar="DIR", help="a lake; its views are skipped")
    parser.add_argument("--run-results", metavar="FILE", help="run_results.json of a build")
    options = parser.parse_args()
    if options.compare or options.lake or options.run_results:
        sys.exit(compare(options))
    write_expected()


if __name__ == "__main__":
    main()
