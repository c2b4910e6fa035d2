#!/usr/bin/env python3
"""Writes what DuckDB gives for each line of `duckdb-projects.txt`, as the test of dialects reads it.

  python crates/engine/tests/dialects/expect.py          # needs duckdb and pyarrow

A line is `sql  ==>  result`, or `sql  =/=  result` where this engine is known not to give it; a new line needs
no result. Lines that DuckDB refuses are printed and dropped.
"""

import pathlib
import re

import duckdb
import pyarrow

FILE = pathlib.Path(__file__).with_name("duckdb-projects.txt")
QUERIES = ("select", "with", "from", "values", "pivot", "unpivot", "summarize", "describe", "(")


def query_of(sql):
    first = re.split(r"[\s(]", sql.lower(), maxsplit=1)[0]
    return sql if first in QUERIES[:-1] else f"select {sql}"


def shown(value, kind):
    """A value as the formatter of Arrow for Rust shows it."""
    if value is None:
        return "NULL"
    types = pyarrow.types
    if types.is_boolean(kind):
        return "true" if value else "false"
    # Without zeros at the end: how many there are follows from the type, which may be another.
    if types.is_floating(kind):
        return without_zeros(plain_float(value))
    if types.is_decimal(kind):
        return without_zeros(f"{value:f}")
    if types.is_timestamp(kind):
        text = value.strftime("%Y-%m-%dT%H:%M:%S") + fraction(value.microsecond)
        return text + ("Z" if kind.tz else "")
    if types.is_interval(kind):
        months, days, nanos = value
        parts = [f"{months} mons"] if months else []
        parts += [f"{days} days"] if days else []
        if nanos:
            seconds = abs(nanos) // 1_000_000_000
            sign = "-" if nanos < 0 else ""
            hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
            parts += [f"{sign}{hours} hours"] if hours else []
            parts += [f"{sign}{minutes} mins"] if minutes else []
            rest = abs(nanos) % 1_000_000_000
            parts += [f"{sign}{seconds}.{rest:09d} secs"] if seconds or rest else []
        return " ".join(parts)
    if types.is_map(kind):
        return "{" + ", ".join(f"{shown(k, kind.key_type)}: {shown(v, kind.item_type)}" for k, v in value) + "}"
    if types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind):
        return "[" + ", ".join(shown(item, kind.value_type) for item in value) + "]"
    if types.is_struct(kind):
        return "{" + ", ".join(f"{field.name}: {shown(value[field.name], field.type)}" for field in kind) + "}"
    if types.is_binary(kind) or types.is_large_binary(kind):
        return value.hex()
    return str(value)


def fraction(micros):
    if micros % 1000 == 0:
        return f".{micros // 1000:03d}" if micros else ""
    return f".{micros:06d}"


def without_zeros(text):
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def plain_float(value):
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return re.sub(r"e\+?(-?)0*", r"e\1", repr(value))


def given(sql):
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    table = connection.execute(query_of(sql)).to_arrow_table()
    rows = []
    for row in range(table.num_rows):
        rows.append(" | ".join(shown(table.column(n)[row].as_py(), table.schema.field(n).type) for n in range(table.num_columns)))
    return "; ".join(rows).replace("\n", "\\n")


def main():
    lines = []
    for line in FILE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            lines.append(line)
            continue
        sql, mark, _ = re.match(r"(.*?)(?:  (==>|=/=)  (.*)|  (?:==>|=/=))?$", line).groups()
        try:
            lines.append(f"{sql}  {mark or '==>'}  {given(sql)}")
        except Exception as error:  # noqa: BLE001
            print(f"{sql}: {str(error).splitlines()[0]}")
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
