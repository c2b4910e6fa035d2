#!/usr/bin/env python3
"""Writes what PostgreSQL gives for each line of `postgres-projects.txt`, as the test of dialects reads it.

  PGHOST=… PGPORT=… PGUSER=… python crates/engine/tests/dialects/expect_postgres.py     # needs psql and a server

A line is `sql  ==>  result`, or `sql  =/=  result` where this engine is known not to give it; a new line needs
no result. `!` stands for an error of PostgreSQL: the engine must not give a value either.
"""

import os
import pathlib
import re
import subprocess

FILE = pathlib.Path(__file__).with_name("postgres-projects.txt")


def query_of(sql):
    first = re.split(r"[\s(]", sql.lower(), maxsplit=1)[0]
    return sql if first in ("select", "with", "values") else f"select {sql}"


def given(sql):
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-F", " | ", "-R", "; ", "-P", "null=NULL", "-v", "ON_ERROR_STOP=1", "-c", query_of(sql)],
        capture_output=True,
        text=True,
        env={**os.environ, "PGTZ": "UTC", "PGOPTIONS": "-c lc_monetary=C"},
    )
    if done.returncode != 0:
        print(f"{sql}: {done.stderr.splitlines()[0]}")
        return "!"
    return done.stdout.removesuffix("\n").replace("\n", "\\n")


def main():
    lines = []
    for line in FILE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            lines.append(line)
            continue
        sql, mark, _ = re.match(r"(.*?)(?:  (==>|=/=)  (.*)|  (?:==>|=/=))?$", line).groups()
        lines.append(f"{sql}  {mark or '==>'}  {given(sql)}")
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
