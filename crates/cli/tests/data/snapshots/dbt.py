"""Makes expected.txt: the same snapshots over the same rounds, kept by dbt with duckdb.

    python dbt.py    (needs dbt-core and dbt-duckdb)

Times of a run and the hashes made of them differ from run to run: they are written as `now1`, `now2`
(in their order) and `hash`.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import duckdb

here = pathlib.Path(__file__).parent


def shown(value):
    if value is None:
        return ""
    return re.sub(r"\.0+$", "", str(value))


def normalized(names, rows):
    times = sorted({v for row in rows for v in row if re.match(r"202[5-9]-|20[3-9]\d-", v)})
    rank = {time: f"now{number}" for number, time in enumerate(times, 1)}
    rows = [[rank.get(v, v) for v in row] for row in rows]
    for row in rows:
        now = any(v.startswith("now") for n, v in zip(names, row) if n in ("dbt_valid_from", "start_at"))
        for number, value in enumerate(row):
            if now and re.fullmatch("[0-9a-f]{32}", value):
                row[number] = "hash"
    return sorted(",".join(row) for row in rows)


def main():
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "snapshots").mkdir()
    (folder / "seeds").mkdir()
    (folder / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: p\n")
    (folder / "profiles.yml").write_text(
        "p: {target: t, outputs: {t: {type: duckdb, path: t.duckdb, schema: main}}}\n"
    )
    shutil.copy(here / "snapshots.yml", folder / "snapshots")
    names = re.findall(r"- name: (\w+)", (here / "snapshots.yml").read_text())
    out = []
    for number in range(1, 7):
        shutil.copy(here / f"round{number}.csv", folder / "seeds" / "s.csv")
        dbt = pathlib.Path(sys.executable).with_name("dbt")
        for command in (["seed", "--full-refresh"], ["snapshot"]):
            subprocess.run([dbt, *command, "--profiles-dir", "."], cwd=folder, check=True)
        connection = duckdb.connect(str(folder / "t.duckdb"))
        for name in names:
            cursor = connection.execute(f"select * from {name}")
            columns = [column[0] for column in cursor.description]
            rows = [[shown(value) for value in row] for row in cursor.fetchall()]
            out += [f"# {name} after round {number}", ",".join(columns), *normalized(columns, rows)]
        connection.close()
    (here / "expected.txt").write_text("\n".join(out) + "\n")


main()
