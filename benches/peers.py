"""The work of one peer in one process, so that its CPU time and memory can be measured from outside.

    python peers.py TASK BENCH_FOLDER OUTPUT_FOLDER [ARGUMENT]

A task is a function below, its name with dashes for underscores. All write Parquet with the same
compression as the lake: zstd level 1.
"""

import pathlib
import sys

THREADS = 2
LEVEL = 1
NULLS = ["", "NA", "N/A", "NULL", "null", r"\N"]
TPCH_TABLES = "customer lineitem nation orders part partsupp region supplier".split()
HERE = pathlib.Path(__file__).resolve().parent


def duck(path=":memory:"):
    import duckdb

    db = duckdb.connect(str(path))
    db.execute(f"set threads = {THREADS}")
    return db


def parquet_options():
    return f"(format parquet, compression zstd, compression_level {LEVEL})"


def zstd():
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=LEVEL)


# ---- files in -----------------------------------------------------------------------------------------


def csv_polars(bench, out):
    import polars as pl

    frame = pl.scan_csv(bench / "tpch/sf1/csv/lineitem.csv", try_parse_dates=True, null_values=NULLS)
    frame.sink_delta(out / "lineitem", delta_write_options={"writer_properties": zstd()})


def csv_duckdb(bench, out):
    source = bench / "tpch/sf1/csv/lineitem.csv"
    duck().execute(f"copy (from read_csv('{source}', nullstr={NULLS})) to '{out}/lineitem.parquet' {parquet_options()}")


def csv_deltalake(bench, out):
    import pyarrow.csv
    from deltalake import write_deltalake

    stream = pyarrow.csv.open_csv(bench / "tpch/sf1/csv/lineitem.csv")
    write_deltalake(out / "lineitem", stream, writer_properties=zstd())


def wide_duckdb(bench, out):
    source = bench / "wide/wide.csv"
    duck().execute(f"copy (from read_csv('{source}', nullstr={NULLS})) to '{out}/wide.parquet' {parquet_options()}")


def wide_polars(bench, out):
    import polars as pl

    frame = pl.scan_csv(bench / "wide/wide.csv", try_parse_dates=True, null_values=NULLS, infer_schema_length=10_000)
    frame.sink_delta(out / "wide", delta_write_options={"writer_properties": zstd()})


def events_duckdb(bench, out):
    source = bench / "wide/events.jsonl"
    duck().execute(f"copy (from read_ndjson('{source}')) to '{out}/events.parquet' {parquet_options()}")


def events_polars(bench, out):
    import polars as pl

    frame = pl.scan_ndjson(bench / "wide/events.jsonl", infer_schema_length=10_000)
    frame.sink_delta(out / "events", delta_write_options={"writer_properties": zstd()})


# ---- a project of 500 models --------------------------------------------------------------------------


def models_duckdb(bench, out):
    """The statements alone, in one process on a database file: what any tool adds comes on top."""
    import os

    os.chdir(bench / "projects/models")
    db = duck(out / "models.duckdb")
    for statement in pathlib.Path("bare.sql").read_text().split(";\n"):
        if not statement.strip():
            continue
        rows = db.execute(statement).fetchall()
        if statement.startswith("select count") and rows[0][0]:
            raise SystemExit(f"check failed: {statement}")
    db.close()


# ---- 20 checks ----------------------------------------------------------------------------------------

SIMPLE = [  # failing rows of the 15 checks that look at one row of one column
    *(f"{c} is null" for c in "l_orderkey l_partkey l_suppkey l_linenumber l_quantity l_shipdate".split()),
    "l_quantity not between 1 and 50",
    "not l_extendedprice > 0",
    "l_discount not between 0 and 0.1",
    "l_tax not between 0 and 0.08",
    "l_shipdate not between date '1992-01-01' and date '1998-12-31'",
    "l_linenumber not in (1, 2, 3, 4, 5, 6, 7)",
    "l_returnflag not in ('A', 'N', 'R')",
    "l_linestatus not in ('F', 'O')",
    "l_shipinstruct not in ('COLLECT COD', 'DELIVER IN PERSON', 'NONE', 'TAKE BACK RETURN')",
]
MODE, COMMENT = "^[A-Z]+( [A-Z]+)?$", "^.{1,44}$"


def passed(counts):
    if len(counts) != 20 or any(counts):
        raise SystemExit(f"unexpected: {counts}")


def checks_duckdb(bench, out):
    db = duck()
    for table in ("lineitem", "orders", "part"):
        db.execute(f"create view {table} as from '{bench}/tpch/sf1/parquet/{table}.parquet'")
    fused = [f"count(*) filter (where {condition})" for condition in SIMPLE]
    fused += [f"count(*) filter (where not regexp_matches({c}, '{p}'))" for c, p in (("l_shipmode", MODE), ("l_comment", COMMENT))]
    counts = list(db.execute(f"select {', '.join(fused)} from lineitem").fetchone())
    counts += db.execute("select count(*) from (select 1 from lineitem group by l_orderkey, l_linenumber having count(*) > 1)").fetchone()
    for column, table, key in (("l_orderkey", "orders", "o_orderkey"), ("l_partkey", "part", "p_partkey")):
        counts += db.execute(f"select count(*) from lineitem where {column} is not null and {column} not in (select {key} from {table})").fetchone()
    passed(counts)


def checks_polars(bench, out):
    import datetime

    import polars as pl

    c = pl.col
    folder = bench / "tpch/sf1/parquet"
    lineitem = pl.scan_parquet(folder / "lineitem.parquet")
    failing = [c(name).is_null() for name in "l_orderkey l_partkey l_suppkey l_linenumber l_quantity l_shipdate".split()]
    failing += [
        ~c("l_quantity").is_between(1, 50),
        ~(c("l_extendedprice") > 0),
        ~c("l_discount").is_between(pl.lit("0").str.to_decimal(scale=2), pl.lit("0.10").str.to_decimal(scale=2)),
        ~c("l_tax").is_between(pl.lit("0").str.to_decimal(scale=2), pl.lit("0.08").str.to_decimal(scale=2)),
        ~c("l_shipdate").is_between(datetime.date(1992, 1, 1), datetime.date(1998, 12, 31)),
        ~c("l_linenumber").is_in([1, 2, 3, 4, 5, 6, 7]),
        ~c("l_returnflag").is_in(["A", "N", "R"]),
        ~c("l_linestatus").is_in(["F", "O"]),
        ~c("l_shipinstruct").is_in(["COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN"]),
        ~c("l_shipmode").str.contains(MODE),
        ~c("l_comment").str.contains(COMMENT),
    ]
    frames = [lineitem.select(condition.sum().alias(f"n{i}") for i, condition in enumerate(failing))]
    frames.append(lineitem.group_by("l_orderkey", "l_linenumber").len().filter(c("len") > 1).select(pl.len()))
    for column, table, key in (("l_orderkey", "orders", "o_orderkey"), ("l_partkey", "part", "p_partkey")):
        keys = pl.scan_parquet(folder / f"{table}.parquet").select(key)
        frames.append(lineitem.select(column).join(keys, left_on=column, right_on=key, how="anti").select(pl.len()))
    passed([value for frame in pl.collect_all(frames, engine="streaming") for value in frame.row(0)])


# ---- upsert -------------------------------------------------------------------------------------------


def upsert_duckdb_rewrite(bench, out, changes):
    base, new = bench / "upsert/base.parquet", bench / f"upsert/changes-{changes}.parquet"
    duck().execute(f"""copy (
        from '{base}' old anti join '{new}' new using (id) union all from '{new}'
    ) to '{out}/base.parquet' {parquet_options()}""")


def upsert_deltalake_prepare(bench, out):
    import polars as pl

    frame = pl.scan_parquet(bench / "upsert/base.parquet")
    frame.sink_delta(out / "base", delta_write_options={"writer_properties": zstd()})


def upsert_deltalake(bench, out, changes):
    import pyarrow.parquet
    from deltalake import DeltaTable

    new = pyarrow.parquet.read_table(bench / f"upsert/changes-{changes}.parquet")
    merge = DeltaTable(out / "base").merge(
        new, predicate="s.id = t.id", source_alias="s", target_alias="t", writer_properties=zstd())
    merge.when_matched_update_all().when_not_matched_insert_all().execute()


def upsert_duckdb_prepare(bench, out):
    db = duck(out / "base.duckdb")
    db.execute(f"create table base as from '{bench}/upsert/base.parquet'")
    db.close()


def upsert_duckdb(bench, out, changes):
    """DuckDB's own store, for scale: it is no open format and keeps no earlier version."""
    new = bench / f"upsert/changes-{changes}.parquet"
    db = duck(out / "base.duckdb")
    db.execute(f"begin; create temp table new as from '{new}'; delete from base where id in (select id from new); insert into base from new; commit")
    db.close()


# ---- TPC-H --------------------------------------------------------------------------------------------


def tpch_queries():
    return [(HERE / f"tpch/q{number}.sql").read_text() for number in range(1, 23)]


def tpch_duckdb(bench, out, passes):
    db = duck()
    for table in TPCH_TABLES:
        db.execute(f"create view {table} as from '{bench}/tpch/sf1/parquet/{table}.parquet'")
    for _ in range(int(passes)):
        for query in tpch_queries():
            db.execute(query).fetchall()


def tpch_polars(bench, out, passes):
    import polars as pl

    context = pl.SQLContext({t: pl.scan_parquet(bench / f"tpch/sf1/parquet/{t}.parquet") for t in TPCH_TABLES})
    for _ in range(int(passes)):
        for query in tpch_queries():
            context.execute(query).collect(engine="streaming")


# ---- is it right? -------------------------------------------------------------------------------------


def verify_rows(bench, out, table, rows, condition="true"):
    """The Delta table at OUT/TABLE, read by Polars, has so many rows for which a condition holds."""
    import polars as pl

    context = pl.SQLContext({"t": pl.scan_delta(str(out / table))})
    found = context.execute(f"select count(*) from t where {condition}").collect(engine="streaming").item()
    if found != int(rows):
        raise SystemExit(f"{out / table}: {found} rows where {condition}, {rows} expected")


def verify_models(bench, out, changed=""):
    """Every table model has the rows and the sum that DuckDB gives it. CHANGED is a condition that was
    added to model_251."""
    import os

    import polars as pl

    os.chdir(bench / "projects/models")
    db = duck()
    for statement in pathlib.Path("bare.sql").read_text().split(";\n"):
        if statement.startswith("create"):
            made = statement.split(" as ", 1)[0].split()[-1]
            db.execute(statement + (changed if made == "model_251" else ""))
    wrong = []
    for number in range(1, 500, 2):
        name = f"model_{number:03}"
        expected = db.execute(f"select count(*), sum(amount) from {name}").fetchone()
        given = pl.scan_delta(str(out / name)).select(pl.len(), pl.col("amount").sum().alias("s")).collect().row(0)
        if tuple(given) != tuple(expected):
            wrong.append(f"{name}: {given} rather than {expected}")
    if wrong:
        raise SystemExit("\n".join(wrong))


def verify_answers(bench, out, folder):
    """FOLDER/q1.csv .. q22.csv give DuckDB's answers: same rows in any order, numbers within 1e-5."""
    import csv

    def number(cell):
        try:
            return float(cell)
        except (TypeError, ValueError):
            return None

    def rows(table):
        return sorted(table, key=lambda row: [(cell if number(cell) is None else f"{number(cell):.3e}") for cell in row])

    def same(a, b):
        x, y = number(a), number(b)
        if x is None or y is None:
            return str(a) == str(b)
        return abs(x - y) <= 1e-5 * max(1.0, abs(x), abs(y))

    db = duck()
    for table in TPCH_TABLES:
        db.execute(f"create view {table} as from '{bench}/tpch/sf1/parquet/{table}.parquet'")
    wrong = []
    for index, query in enumerate(tpch_queries(), 1):
        expected = rows([[str(cell) for cell in row] for row in db.execute(query).fetchall()])
        with open(pathlib.Path(folder) / f"q{index}.csv", newline="") as file:
            given = rows(list(csv.reader(file))[1:])
        if len(given) != len(expected) or not all(
            len(a) == len(b) and all(map(same, a, b)) for a, b in zip(expected, given)
        ):
            wrong.append(f"q{index}")
    if wrong:
        raise SystemExit(f"answers differ from DuckDB's: {', '.join(wrong)}")


if __name__ == "__main__":
    task, bench, out, *arguments = sys.argv[1:]
    globals()[task.replace("-", "_")](pathlib.Path(bench), pathlib.Path(out), *arguments)
