"""Makes `iceberg/`, tables of other writers, with `pip install 'pyiceberg[sql-sqlite,pyarrow]==0.12.0'`.

`orders` is written by pyiceberg alone: all types, schema and partition evolution, a tag, a branch, deletes
by rewriting. `deletes` has files of deleted places and values, which pyiceberg does not write: they are put
together here by the specification, with pyiceberg's writers of manifests. `mapped` has files without field
ids. `orders/defaults` and `old/inline` are metadata that is changed by hand: defaults of version 3, and
manifests without a list of version 1.
The metadata that a test needs is copied to `<table>/metadata/<name>.metadata.json`; `expected.json` has the rows
that pyiceberg reads.
"""

import datetime as dt
import decimal
import json
import pathlib
import shutil
import tempfile
import uuid
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.avro.file import AvroOutputFile
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import (
    DataFile, DataFileContent, FileFormat, ManifestContent, ManifestEntry, ManifestEntryStatus,
    ManifestWriterV2, write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, AssertTableUUID, SetSnapshotRefUpdate
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.typedef import Record
from pyroaring import BitMap
from pyiceberg.types import (
    BinaryType, BooleanType, DateType, DecimalType, DoubleType, FixedType, FloatType, IntegerType, ListType,
    LongType, MapType, NestedField, StringType, StructType, TimestampType, TimestamptzType, TimeType, UUIDType,
)

HERE = pathlib.Path(__file__).parent / "iceberg"
shutil.rmtree(HERE, ignore_errors=True)
# A place that any machine can name, so that the metadata does not tell where it was made.
WORK = pathlib.Path("/tmp/tidemill-iceberg-fixture")
shutil.rmtree(WORK, ignore_errors=True)
WORK.mkdir()
catalog = SqlCatalog("c", uri=f"sqlite:///{tempfile.mkdtemp()}/c.db", warehouse=f"file://{WORK}")
catalog.create_namespace("shop")
expected = {}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (dt.date, dt.datetime, dt.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    return value


def state(table, folder, name, **how):
    """Keeps the metadata as it is now, and what pyiceberg reads."""
    table.refresh()
    place = WORK / folder / "metadata"
    shutil.copy(table.metadata_location.removeprefix("file://"), place / f"{name}.metadata.json")
    rows = table.scan(**how).to_arrow().to_pylist()
    expected[f"{folder}/{name}"] = sorted((plain(row) for row in rows), key=lambda row: row["id"])


# --- orders ---------------------------------------------------------------------------------------------
schema = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "amount", DecimalType(9, 2)),
    NestedField(3, "at", TimestamptzType()),
    NestedField(4, "tags", ListType(20, StringType(), element_required=False)),
    NestedField(5, "day", DateType()),
    NestedField(6, "region", StringType()),
    NestedField(7, "key", UUIDType()),
    NestedField(8, "code", FixedType(4)),
    NestedField(9, "hour", TimeType()),
    NestedField(10, "place", StructType(
        NestedField(21, "city", StringType()), NestedField(22, "zip", IntegerType()))),
    NestedField(11, "counts", MapType(23, StringType(), 24, IntegerType(), value_required=False)),
    NestedField(12, "n", IntegerType()),
    NestedField(13, "ratio", FloatType()),
    NestedField(14, "local", TimestampType()),
    NestedField(15, "raw", BinaryType()),
    NestedField(16, "ok", BooleanType()),
    NestedField(17, "places", ListType(25, StructType(NestedField(26, "zip", IntegerType())), element_required=False)),
    identifier_field_ids=[1],
)
spec = PartitionSpec(PartitionField(6, 1000, IdentityTransform(), "region"))
orders = catalog.create_table("shop.orders", schema, location=f"file://{WORK}/orders", partition_spec=spec)
REGIONS = ["no rth", None, "ö/x=1%"]


def order(n, **more):
    return {
        "id": n, "amount": decimal.Decimal(n) / 4,
        "at": dt.datetime(2024, 1, n, 1, 2, 3, 4, tzinfo=dt.timezone.utc),
        "tags": ["a"] * (n % 3) or None, "day": dt.date(2024, 1, n % 2 + 1), "region": REGIONS[n % 3],
        "key": uuid.UUID(int=n).bytes, "code": bytes([n] * 4), "hour": dt.time(n, 0, 0, n),
        "place": {"city": f"c{n}", "zip": n} if n % 4 else None, "counts": [("x", n), ("y", None)],
        "n": n, "ratio": n / 8, "local": dt.datetime(2024, 1, n), "raw": bytes([255, n]), "ok": n % 2 == 0,
        "places": [{"zip": n}, None] if n % 2 else [], **more,
    }


def rows(table, *all):
    return pa.Table.from_pylist(list(all), schema=table.schema().as_arrow())


state(orders, "orders", "empty")
orders.append(rows(orders, *(order(n) for n in (1, 2, 3))))
state(orders, "orders", "first")
orders.manage_snapshots().create_tag(orders.current_snapshot().snapshot_id, "v1").commit()
orders.append(rows(orders, *(order(n) for n in (4, 5, 6, 7))))
state(orders, "orders", "second")
with orders.update_schema(allow_incompatible_changes=True) as update:
    update.update_column("amount", DecimalType(12, 2))
    update.update_column("n", LongType())
    update.update_column("ratio", DoubleType())
    update.delete_column("tags")
    update.add_column("note", StringType())
    update.rename_column(("place", "zip"), "postcode")
    update.add_column(("place", "country"), StringType())
    update.rename_column(("places", "element", "zip"), "postcode")
with orders.update_schema() as update:
    update.rename_column("amount", "price")
    # A name that was there before, of another column.
    update.add_column("tags", IntegerType())
with orders.update_spec() as update:
    update.add_field("id", BucketTransform(4), "id_bucket")
    update.remove_field("region")
eighth = order(8)
eighth.update(price=eighth.pop("amount"), note="new", tags=8, place={"city": "c8", "postcode": 8, "country": "de"}, places=[{"postcode": 8}])
orders.append(rows(orders, eighth))
state(orders, "orders", "third")
branched = order(9)
branched.update(price=branched.pop("amount"), tags=9, place=None, places=None)
orders.manage_snapshots().create_branch(orders.current_snapshot().snapshot_id, "side").commit()
orders.append(rows(orders, branched), branch="side")
state(orders, "orders", "branch")
expected["orders/side"] = sorted(
    (plain(row) for row in orders.scan().use_ref("side").to_arrow().to_pylist()), key=lambda row: row["id"])
orders.delete("id = 4")
state(orders, "orders", "deleted")
expected["orders/v1"] = expected["orders/first"]
expected["orders/snapshots"] = [
    {"id": it.snapshot_id, "at": it.timestamp_ms, "operation": it.summary.operation.value} for it in orders.snapshots()]


# --- deletes --------------------------------------------------------------------------------------------
class DeleteManifest(ManifestWriterV2):
    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return {**super()._meta, "content": "deletes"}


def commit_files(table, name, *files, operation=Operation.DELETE, writer=DeleteManifest):
    """A snapshot with these files of deletes beside what the current one has."""
    table.refresh()
    parent = table.current_snapshot()
    number = parent.snapshot_id + 1
    sequence = parent.sequence_number + 1
    kept = parent.manifests(table.io)
    added = []
    for at, file in enumerate(files):
        path = f"{table.location()}/metadata/{name}-{at}.avro"
        with writer(table.specs()[file.spec_id], table.schema(), table.io.new_output(path), number, "deflate") as manifest:
            manifest.add_entry(ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=number, sequence_number=None,
                file_sequence_number=None, data_file=file))
        added.append(manifest.to_manifest_file())
    listing = f"{table.location()}/metadata/snap-{name}.avro"
    with write_manifest_list(2, table.io.new_output(listing), number, parent.snapshot_id, sequence, "deflate") as lists:
        lists.add_manifests(added + kept)
    snapshot = Snapshot(
        snapshot_id=number, parent_snapshot_id=parent.snapshot_id, sequence_number=sequence,
        timestamp_ms=parent.timestamp_ms + 1000, manifest_list=listing,
        summary=Summary(operation), schema_id=table.schema().schema_id)
    catalog.commit_table(
        table, (AssertTableUUID(uuid=table.metadata.table_uuid),),
        (AddSnapshotUpdate(snapshot=snapshot),
         SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=number)))
    table.refresh()


def delete_file(table, name, columns, content, spec_id=0, partition=Record(), bounds=None, **more):
    path = f"{table.location()}/data/{name}.parquet"
    local = path.removeprefix("file://")
    pq.write_table(columns, local)
    file = DataFile.from_args(
        content=content, file_path=path, file_format=FileFormat.PARQUET, partition=partition,
        record_count=columns.num_rows, file_size_in_bytes=pathlib.Path(local).stat().st_size,
        lower_bounds=bounds and {2147483546: bounds[0]}, upper_bounds=bounds and {2147483546: bounds[1]}, **more)
    file.spec_id = spec_id
    return file


def field(name, kind, number):
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})


PLACES = pa.schema([field("file_path", pa.string(), 2147483546), field("pos", pa.int64(), 2147483545)])
schema = Schema(
    NestedField(1, "id", LongType(), required=True), NestedField(2, "grp", StringType()),
    NestedField(3, "name", StringType()), NestedField(4, "value", IntegerType()))
spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "grp"))
deletes = catalog.create_table("shop.deletes", schema, location=f"file://{WORK}/deletes", partition_spec=spec)


def items(*numbers, grp="a"):
    return pa.Table.from_pylist(
        [{"id": n, "grp": grp, "name": f"n{n % 3}" if n % 5 else None, "value": n} for n in numbers],
        schema=deletes.schema().as_arrow())


deletes.append(items(*range(1, 11)))
deletes.append(items(*range(11, 16), grp="b"))
state(deletes, "deletes", "all")
paths = {task.file.partition[0]: task.file.file_path for task in deletes.scan().plan_files()}
a = paths["a"]
commit_files(deletes, "places", delete_file(
    deletes, "places-a", pa.table([[a, a, a], [0, 3, 9]], schema=PLACES), DataFileContent.POSITION_DELETES,
    partition=Record("a"), bounds=(a.encode(), a.encode())))
state(deletes, "deletes", "places")
# Places of two files of one partition, without bounds; a file that is none of the table among them.
deletes.append(items(1, 20, 21))
newer = next(task.file.file_path for task in deletes.scan().plan_files() if task.file.file_path not in (a, paths["b"]))
mixed = sorted([(a, 1), (newer, 2), ("file:///nowhere.parquet", 0)])
commit_files(deletes, "mixed", delete_file(
    deletes, "places-mixed", pa.table([[path for path, _ in mixed], [at for _, at in mixed]], schema=PLACES),
    DataFileContent.POSITION_DELETES, partition=Record("a")))
state(deletes, "deletes", "mixed")
# From here on pyiceberg cannot read, and what is expected is said here: values of one partition, ...
left = {row["id"]: dict(row) for row in expected["deletes/mixed"]}
commit_files(deletes, "values", delete_file(
    deletes, "values-a", pa.table([[None, "n2"]], schema=pa.schema([field("name", pa.string(), 3)])),
    DataFileContent.EQUALITY_DELETES, partition=Record("a"), equality_ids=[3]))
left = {n: row for n, row in left.items() if not (row["grp"] == "a" and row["name"] in (None, "n2"))}
state_rows = lambda: sorted((dict(row) for row in left.values()), key=lambda row: row["id"])


def keep(name):
    deletes.refresh()
    shutil.copy(deletes.metadata_location.removeprefix("file://"), WORK / "deletes/metadata" / f"{name}.metadata.json")
    expected[f"deletes/{name}"] = state_rows()


keep("values")
# ... rows of later commits stay, although they have such values; ...
deletes.append(items(5, 8))
left |= {5: {"id": 5, "grp": "a", "name": None, "value": 5}, 8: {"id": 8, "grp": "a", "name": "n2", "value": 8}}
keep("later")
# ... and values of two columns in any partition, after a rename and a promotion.
with deletes.update_schema() as update:
    update.rename_column("name", "title")
    update.update_column("value", LongType())
    update.add_column("extra", StringType())
with deletes.update_spec() as update:
    update.remove_field("grp")
spec_id = deletes.refresh().spec().spec_id
commit_files(deletes, "two", delete_file(
    deletes, "values-two",
    pa.table([["n1", "n0", "n2"], [7, 12, 99]], schema=pa.schema([field("was", pa.string(), 3), field("value", pa.int64(), 4)])),
    DataFileContent.EQUALITY_DELETES, spec_id=spec_id, partition=Record(), equality_ids=[3, 4]))
left = {n: row for n, row in left.items() if n not in (7, 12)}
for row in left.values():
    row["title"] = row.pop("name")
    row["extra"] = None
keep("two")
# A key that the table does not have any more, and that no file has: all rows have NULL there.
commit_files(deletes, "extra", delete_file(
    deletes, "values-extra", pa.table([["x"], [1]], schema=pa.schema([field("extra", pa.string(), 5), field("id", pa.int64(), 1)])),
    DataFileContent.EQUALITY_DELETES, spec_id=spec_id, partition=Record(), equality_ids=[5, 1]))
with deletes.update_schema() as update:
    update.delete_column("title")
for row in left.values():
    del row["title"]
commit_files(deletes, "gone", delete_file(
    deletes, "values-gone", pa.table([["n1"]], schema=pa.schema([field("title", pa.string(), 3)])),
    DataFileContent.EQUALITY_DELETES, spec_id=spec_id, partition=Record(), equality_ids=[3]))
left = {n: row for n, row in left.items() if not (n % 3 == 1 and n % 5)}
keep("gone")

# --- vectors: deletion vectors of version 3 -------------------------------------------------------------
class VectorManifest(DeleteManifest):
    @property
    def version(self):
        return 3

    def new_writer(self):
        return AvroOutputFile(
            output_file=self._output_file, file_schema=self._with_partition(3), record_schema=self._with_partition(3),
            schema_name="manifest_entry", metadata=self._meta)


def vector_file(table, name, vectors):
    """A Puffin file of deletion vectors, by the paths of data files."""
    content, blobs, files = b"PFA1", [], []
    for path, places in vectors.items():
        of_key = {}
        for place in places:
            of_key.setdefault(place >> 32, []).append(place & 0xFFFFFFFF)
        body = len(of_key).to_bytes(8, "little")
        for key, low in sorted(of_key.items()):
            bits = BitMap(low)
            bits.run_optimize()
            body += key.to_bytes(4, "little") + bits.serialize()
        body = b"\xD1\xD3\x39\x64" + body
        blob = len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        blobs.append({"type": "deletion-vector-v1", "fields": [2147483645], "snapshot-id": -1, "sequence-number": -1,
                      "offset": len(content), "length": len(blob),
                      "properties": {"referenced-data-file": path, "cardinality": str(len(places))}})
        files.append((path, len(content), len(blob), len(places)))
        content += blob
    footer = json.dumps({"blobs": blobs, "properties": {}}).encode()
    content += b"PFA1" + footer + len(footer).to_bytes(4, "little") + bytes(4) + b"PFA1"
    where = f"{table.location()}/data/{name}.puffin"
    pathlib.Path(where.removeprefix("file://")).write_bytes(content)
    made = []
    for path, offset, length, count in files:
        file = DataFile.from_args(
            _table_format_version=3, content=DataFileContent.POSITION_DELETES, file_path=where,
            file_format=FileFormat.PUFFIN, partition=Record(), record_count=count, file_size_in_bytes=len(content),
            referenced_data_file=path, content_offset=offset, content_size_in_bytes=length)
        file.spec_id = 0
        made.append(file)
    return made


vectors = catalog.create_table(
    "shop.vectors", Schema(NestedField(1, "id", LongType())), location=f"file://{WORK}/vectors")
numbers = lambda *of: pa.table({"id": pa.array(of, pa.int64())})
vectors.append(numbers(*range(200_000)))
vectors.append(numbers(*range(200_000, 200_010)))
first, second = sorted((task.file for task in vectors.scan().plan_files()), key=lambda file: -file.record_count)
# All kinds of containers: a list, a bitmap, and runs; and places of rows that are not there.
gone = {first.file_path: [*range(0, 130_000, 2)[:33_000], *range(70_001, 131_073), 190_000, 199_999], second.file_path: [3, 4]}
gone[first.file_path] = sorted(set(gone[first.file_path]))
commit_files(vectors, "vectors", *vector_file(vectors, "dv", gone), writer=VectorManifest)
state(vectors, "vectors", "vectors")
ids = [row["id"] for row in expected.pop("vectors/vectors")]
expected["vectors/sums"] = [len(ids), sum(ids)]

# --- mapped: files without ids, as of a table that was imported ----------------------------------------
schema = Schema(
    NestedField(1, "id", LongType()), NestedField(2, "name", StringType()), NestedField(3, "day", DateType()),
    NestedField(4, "place", StructType(NestedField(5, "city", StringType()))),
    NestedField(6, "tags", ListType(7, StructType(NestedField(8, "t", LongType())), element_required=False)))
spec = PartitionSpec(PartitionField(3, 1000, IdentityTransform(), "day"))
mapped = catalog.create_table("shop.mapped", schema, location=f"file://{WORK}/mapped", partition_spec=spec)
(WORK / "mapped/data").mkdir(parents=True, exist_ok=True)
pq.write_table(
    pa.table({"id": [1, 2], "name": ["x", None], "day": pa.array([dt.date(2024, 1, 1)] * 2),
              "place": [{"city": "c"}, None], "tags": [[{"t": 1}], []]}), WORK / "mapped/data/one.parquet",
    use_deprecated_int96_timestamps=True)
mapped.add_files([f"file://{WORK}/mapped/data/one.parquet"])
with mapped.update_schema() as update:
    update.rename_column("name", "title")
state(mapped, "mapped", "mapped")
# The partition's column is not in the file any more: its value stands in the partition alone.
local = WORK / "mapped/data/one.parquet"
pq.write_table(pq.read_table(local, partitioning=None).drop_columns(["day"]), local)

# --- metadata by hand ----------------------------------------------------------------------------------
text = json.loads((WORK / "orders/metadata/third.metadata.json").read_text())
text["format-version"] = 3
text["next-row-id"] = 0
for it in text["schemas"][-1]["fields"]:
    if it["name"] == "note":
        it["initial-default"] = "none yet"
for it in text["snapshots"]:
    it.setdefault("first-row-id", 0)
(WORK / "orders/metadata/defaults.metadata.json").write_text(json.dumps(text))

# --- version 1 -----------------------------------------------------------------------------------------
old = catalog.create_table(
    "shop.old", Schema(NestedField(1, "id", LongType()), NestedField(2, "grp", StringType())),
    location=f"file://{WORK}/old", partition_spec=PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "grp")),
    properties={"format-version": "1"})
old.append(pa.table({"id": [1, 2], "grp": ["a", "b"]}))
old.append(pa.table({"id": [3], "grp": ["a"]}))
state(old, "old", "two")
text = json.loads((WORK / "old/metadata/two.metadata.json").read_text())
for it in text["snapshots"]:
    from pyiceberg.manifest import read_manifest_list
    it["manifests"] = [m.manifest_path for m in read_manifest_list(old.io.new_input(it.pop("manifest-list")))]
(WORK / "old/metadata/inline.metadata.json").write_text(json.dumps(text))

for folder in ("orders", "deletes", "vectors", "mapped", "old"):
    shutil.copytree(WORK / folder, HERE / folder)
(HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
for key, value in expected.items():
    print(key, len(value))
