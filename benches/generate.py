"""Makes the data and the projects of the benchmarks that TPC-H does not give.

    python generate.py FOLDER

Everything is seeded: two machines get the same bytes. Files that exist are kept; projects, which are
small, are always written anew.

    wide/wide.csv         500,000 rows x 60 columns as an export from a business system looks
    wide/events.jsonl     1,000,000 nested events
    upsert/base.parquet   lineitem with a key `id` (1 .. 6,001,215), in order of the key
    upsert/changes-spread.parquet, changes-newest.parquet
                          100,000 rows each: 80% updates, 20% new keys; the updated keys lie over the
                          whole table, or within its last tenth
    projects/             one folder a benchmark (see `projects`)
"""

import os
import pathlib
import random
import sys

TPCH_TABLES = "customer lineitem nation orders part partsupp region supplier".split()
WIDE_ROWS = 500_000
EVENT_ROWS = 1_000_000
CHANGES = 100_000

WORDS = (
    "account address annual balance branch budget client contract credit customer delivery discount "
    "district export factory final freight global goods import index invoice ledger limit margin market "
    "monthly office order parcel partner payment period price product quality quarter rebate record "
    "region return review sales segment service shipment stock store supply target transfer unit value "
    "warehouse Zürich Köln São Paulo Kraków Malmö naïve café 東京 Ελλάδα"
).split()
CITIES = ["Zürich", "São Paulo", "Kraków", "Malmö", "New York", "東京", "Reykjavík", "Łódź", "Paris", "Lagos"]


def whole(path, write):
    """Calls `write` with a path beside `path` and renames: a file under its own name is complete."""
    if path.exists():
        return
    print(path, file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name("." + path.name)
    write(part)
    os.replace(part, path)


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def wide_columns(rng):
    """Yields (name, cells): `cells(n)` gives n cells as they stand in the file."""
    blank = lambda cells, share, token: (
        lambda n: [token if rng.random() < share else cell for cell in cells(n)]
    )
    pick = lambda pool: (lambda n: rng.choices(pool, k=n))
    date = lambda: f"{rng.randint(2015, 2024)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    time = lambda: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    phrase = lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 3)))

    row = iter(range(1, 1 << 40))
    yield "Record ID", lambda n: [str(next(row)) for _ in range(n)]
    for i in range(1, 9):
        yield f"Count {i}", blank(lambda n: [str(rng.randrange(10**6)) for _ in range(n)], 0.05, "")
    for i in range(1, 9):
        yield f"Measure {i}", blank(lambda n: [f"{rng.gauss(0, 1000):.4f}" for _ in range(n)], 0.04, "N/A")
    for i in range(1, 7):  # text, for the thousands separator and the sign
        yield f"Amount {i}", blank(lambda n: [f'"${rng.random() * 10**6:,.2f}"' for _ in range(n)], 0.02, "")
    for i in range(1, 6):
        yield f"Date {i}", blank(lambda n: [date() for _ in range(n)], 0.05, "NULL")
    for i in range(1, 4):
        yield f"Updated At {i}", lambda n: [f"{date()} {time()}" for _ in range(n)]
    for i in range(1, 5):
        yield f"Flag {i}", blank(pick(["true", "false"]), 0.05, "")
    for i in range(1, 7):
        yield f"Category {i}", pick([f"{rng.choice(WORDS)}-{j}" for j in range(30)])
    for i in range(1, 4):
        yield f"City {i}", blank(pick(CITIES), 0.03, "N/A")
    for i in range(1, 4):  # leading zeros have to stay
        yield f"Postal Code {i}", lambda n: [f"0{rng.randrange(10**4):04}" for _ in range(n)]
    for i in range(1, 6):
        pool = [quoted(f"{phrase()}, {phrase()}") for _ in range(5000)]
        yield f"Address {i}", blank(pick(pool), 0.05, "")
    for i in range(1, 4):
        breaks = [' "as agreed" ', "\n", " - ", "\r\n", ", "]
        pool = [quoted(phrase() + rng.choice(breaks) + phrase()) for _ in range(5000)]
        yield f"Note {i}", blank(pick(pool), 0.3, "")
    for i in range(1, 6):
        yield f"Code {i}", lambda n: [f"{rng.getrandbits(32):08x}-K{rng.randrange(100):02}" for _ in range(n)]


def wide(path):
    rng = random.Random(20261)
    columns = list(wide_columns(rng))
    assert len(columns) == 60, len(columns)
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(",".join(name for name, _ in columns) + "\n")
        for _ in range(0, WIDE_ROWS, 10_000):
            rows = zip(*(cells(10_000) for _, cells in columns))
            out.write("\n".join(map(",".join, rows)) + "\n")


def events(path):
    rng = random.Random(20262)
    kinds = ["view", "click", "search", "add_to_cart", "purchase", "signup"]
    with open(path, "w", encoding="utf-8", newline="") as out:
        lines = []
        for i in range(1, EVENT_ROWS + 1):
            user = rng.randrange(1, 200_000)
            at = rng.randrange(86_400)
            kind = rng.choice(kinds)
            day = 1 + i * 28 // (EVENT_ROWS + 1)
            line = (
                f'{{"id":{i},"ts":"2024-03-{day:02}T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}.{rng.randrange(1000):03}Z",'
                f'"kind":"{kind}","user":{{"id":{user},"name":"{rng.choice(WORDS)} \\"{user % 97}\\"",'
                f'"geo":{{"city":"{rng.choice(CITIES)}","lat":{rng.uniform(-90, 90):.5f},"lon":{rng.uniform(-180, 180):.5f}}}}},'
                f'"session":"{rng.getrandbits(32):08x}","page":"/{rng.choice(WORDS)}/{rng.randrange(5000)}","ms":{rng.randrange(1, 4000)},"ok":{rng.choice(("true", "true", "false"))}'
            )
            if i % 3 == 0:
                tags = ",".join(f'"{t}"' for t in rng.choices(("new", "sale", "mobile", "r\\u00e9tro", "b2b"), k=rng.randint(0, 3)))
                line += f',"tags":[{tags}]'
            if kind in ("add_to_cart", "purchase"):
                items = ",".join(
                    f'{{"sku":"SKU-{rng.randrange(20_000):05}","qty":{rng.randint(1, 5)},"price":{rng.randrange(100, 50_000) / 100:.2f}}}'
                    for _ in range(rng.randint(1, 3))
                )
                line += f',"items":[{items}]'
            line += ',"coupon":null}' if i % 2 else f',"coupon":"C{rng.randrange(1000)}"}}'
            lines.append(line)
            if len(lines) == 20_000:
                out.write("\n".join(lines) + "\n")
                lines.clear()
        assert not lines


def upserts(folder, lineitem):
    import duckdb

    total = 6_001_215
    # A fixed multiplier without a common factor with the range visits distinct keys in no order.
    spread = f"(k * 2654435761) % {total} + 1"
    newest = f"{total - total // 10} + (k * 2654435761) % {total // 10} + 1"
    updates = CHANGES * 8 // 10

    def run(sql):
        db = duckdb.connect()
        db.execute("set threads = 2; set preserve_insertion_order = true")
        db.execute(sql)

    options = "(format parquet, compression zstd, row_group_size 122880)"
    whole(folder / "base.parquet", lambda path: run(
        f"copy (select row_number() over () as id, * from '{lineitem}') to '{path}' {options}"))
    for name, key in (("spread", spread), ("newest", newest)):
        whole(folder / f"changes-{name}.parquet", lambda path: run(f"""
            copy (
                with keys as (
                    select {key} as id, id as source, k
                    from (select k, ({key}) as id from range(1, {updates + 1}) t(k))
                    union all
                    select {total} + k, k * 37, {updates} + k from range(1, {CHANGES - updates + 1}) t(k)
                )
                select keys.id, base.* exclude (id) replace (l_extendedprice + 1 as l_extendedprice, 'changed ' || l_comment as l_comment)
                from keys join '{folder}/base.parquet' base on base.id = keys.source
                order by keys.k
            ) to '{path}' {options}"""))


# ---- projects ---------------------------------------------------------------------------------------

MODELS = 500
LAYER = 100


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def project(folder, name):
    write(folder / "dbt_project.yml", (
        f"name: {name}\nversion: '1.0'\nmodel-paths: [models]\nseed-paths: [seeds]\n"))


def source_yaml(tables):
    """tables: name -> (ingest settings as YAML flow, extra lines). They stand in the default schema, so
    that a query may name them bare."""
    text = "version: 2\nsources:\n  - name: raw\n    schema: main\n    tables:\n"
    for name, (ingest, extra) in tables.items():
        text += f"      - name: {name}\n        ingest: {ingest}\n" + extra
    return text


def model_sql(i):
    """Model number i of 500: layers of 100; a layer reads the one below it. `id` stays unique."""
    layer, place = divmod(i, LAYER)
    if layer == 0:
        return (
            f"select id, customer_id, amount * {1 + i % 7} as amount, status, day\n"
            "from {{ ref('raw_orders') }}\n"
            f"where id % {20 + i % 13} <> {i % 20}\n"
        )
    left = (layer - 1) * LAYER + place
    right = (layer - 1) * LAYER + (place * 7 + 3) % LAYER
    return (
        f"select a.id, a.customer_id, a.amount + coalesce(b.amount, 0) * {1 + i % 3} as amount, a.status, a.day\n"
        f"from {{{{ ref('model_{left:03}') }}}} as a\n"
        f"left join {{{{ ref('model_{right:03}') }}}} as b on a.id = b.id\n"
        f"where a.amount <> {i}\n"
    )


def is_view(i):
    return i % 2 == 0


def models_project(folder):
    """500 models (half views, half tables) with not_null and unique on the key of each."""
    rng = random.Random(20263)
    project(folder, "models")
    # Beside the project, not in it: without a profile Tidemill's target is the lake in ./lake.
    write(folder.parent / "profiles/profiles.yml", (
        "models:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: models.duckdb, schema: main, threads: 2}\n"))
    rows = ["id,customer_id,amount,status,day"]
    for i in range(1, 1001):
        rows.append(f"{i},{rng.randrange(1, 200)},{rng.randrange(100, 10_000)},{rng.choice(('new', 'paid', 'sent'))},2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}")
    write(folder / "seeds/raw_orders.csv", "\n".join(rows) + "\n")
    properties = "version: 2\nmodels:\n"
    bare = ["create table raw_orders as from read_csv('seeds/raw_orders.csv');"]
    for i in range(MODELS):
        kind = "view" if is_view(i) else "table"
        sql = model_sql(i)
        write(folder / f"models/layer_{i // LAYER}/model_{i:03}.sql", f"{{{{ config(materialized='{kind}') }}}}\n{sql}")
        properties += (
            f"  - name: model_{i:03}\n    columns:\n      - name: id\n        data_tests: [not_null, unique]\n")
        plain = sql.replace("{{ ref('", "").replace("') }}", "")
        bare.append(f"create {kind} model_{i:03} as {plain.strip()};")
        bare.append(f"select count(*) from model_{i:03} where id is null;")
        bare.append(f"select count(*) from (select id from model_{i:03} group by id having count(*) > 1);")
    write(folder / "models/properties.yml", properties)
    write(folder / "bare.sql", "\n".join(bare) + "\n")


# The 20 checks, once as dbt tests (below) and once by hand (peers.py).
CHECKS = """        columns:
          - name: l_orderkey
            data_tests:
              - not_null
              - relationships: {arguments: {to: "source('raw', 'orders')", field: o_orderkey}}
          - name: l_partkey
            data_tests:
              - not_null
              - relationships: {arguments: {to: "source('raw', 'part')", field: p_partkey}}
          - name: l_suppkey
            data_tests: [not_null]
          - name: l_linenumber
            data_tests:
              - not_null
              - accepted_values: {arguments: {values: [1, 2, 3, 4, 5, 6, 7], quote: false}}
          - name: l_quantity
            data_tests:
              - not_null
              - dbt_utils.accepted_range: {arguments: {min_value: 1, max_value: 50}}
          - name: l_extendedprice
            data_tests:
              - dbt_utils.accepted_range: {arguments: {min_value: 0, inclusive: false}}
          - name: l_discount
            data_tests:
              - dbt_utils.accepted_range: {arguments: {min_value: 0, max_value: 0.1}}
          - name: l_tax
            data_tests:
              - dbt_utils.accepted_range: {arguments: {min_value: 0, max_value: 0.08}}
          - name: l_shipdate
            data_tests:
              - not_null
              - dbt_utils.accepted_range: {arguments: {min_value: "date '1992-01-01'", max_value: "date '1998-12-31'"}}
          - name: l_returnflag
            data_tests:
              - accepted_values: {arguments: {values: [A, N, R]}}
          - name: l_linestatus
            data_tests:
              - accepted_values: {arguments: {values: [F, O]}}
          - name: l_shipinstruct
            data_tests:
              - accepted_values: {arguments: {values: [COLLECT COD, DELIVER IN PERSON, NONE, TAKE BACK RETURN]}}
          - name: l_shipmode
            data_tests:
              - dbt_expectations.expect_column_values_to_match_regex: {arguments: {regex: '^[A-Z]+( [A-Z]+)?$'}}
          - name: l_comment
            data_tests:
              - dbt_expectations.expect_column_values_to_match_regex: {arguments: {regex: '^.{1,44}$'}}
        data_tests:
          - dbt_utils.unique_combination_of_columns: {arguments: {combination_of_columns: [l_orderkey, l_linenumber]}}
"""


def projects(bench, folder):
    tpch = bench / "tpch/sf1"
    full = lambda path: (f"{{location: '{path}', mode: full}}", "")

    def ingest_only(name, tables):
        project(folder / name, name)
        write(folder / name / "models/sources.yml", source_yaml(tables))

    ingest_only("csv", {"lineitem": full(tpch / "csv/lineitem.csv")})
    ingest_only("csv_sf10", {"lineitem": full(bench / "tpch/sf10/csv/lineitem.csv")})
    ingest_only("wide", {"wide": full(bench / "wide/wide.csv")})
    ingest_only("events", {"events": full(bench / "wide/events.jsonl")})
    ingest_only("tpch", {table: full(tpch / f"parquet/{table}.parquet") for table in TPCH_TABLES})
    ingest_only("checks", {
        "lineitem": (f"{{location: '{tpch}/parquet/lineitem.parquet', mode: full}}", CHECKS),
        "orders": full(tpch / "parquet/orders.parquet"),
        "part": full(tpch / "parquet/part.parquet"),
    })
    # The base first; a change file is put beside it for the measured load.
    ingest_only("upsert", {"base": ("{location: 'data/*.parquet', mode: merge, primary_key: [id]}", "")})
    write(folder / "upsert/models/rewrite.sql", (
        "{{ config(materialized='table') }}\nselect * from {{ source('raw', 'base') }}\n"))
    models_project(folder / "models")


def main():
    bench = pathlib.Path(sys.argv[1]).resolve()
    whole(bench / "wide/wide.csv", wide)
    whole(bench / "wide/events.jsonl", events)
    upserts(bench / "upsert", bench / "tpch/sf1/parquet/lineitem.parquet")
    projects(bench, bench / "projects")


if __name__ == "__main__":
    main()
