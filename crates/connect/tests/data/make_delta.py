"""Makes `delta/orders`, a table of five versions, with delta-rs: `pip install deltalake pyarrow`."""

import datetime as dt
import decimal
import pathlib
import shutil

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

FOLDER = pathlib.Path(__file__).parent / "delta" / "orders"
shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.parent.mkdir(exist_ok=True)


def rows(ids, **more):
    return pa.table({
        "orderId": pa.array(ids, pa.int64()),
        "amount": pa.array([decimal.Decimal(n) / 4 for n in ids], pa.decimal128(9, 2)),
        "at": pa.array([dt.datetime(2024, 1, n, tzinfo=dt.timezone.utc) for n in ids], pa.timestamp("us", "UTC")),
        "tags": pa.array([["a"] * (n % 3) for n in ids], pa.list_(pa.string())),
        "day": pa.array([dt.date(2024, 1, n % 2 + 1) for n in ids], pa.date32()),
        "region": pa.array([["no rth", None, "ö/x"][n % 3] for n in ids], pa.string()),
        **more,
    })


by = ["day", "region"]
write_deltalake(FOLDER, rows([1, 2, 3]), partition_by=by)
write_deltalake(FOLDER, rows([4, 5, 6, 7]), mode="append", partition_by=by)
DeltaTable(FOLDER).optimize.compact()
DeltaTable(FOLDER).create_checkpoint()
write_deltalake(FOLDER, rows([8], note=pa.array(["new"])), mode="append", partition_by=by, schema_mode="merge")
DeltaTable(FOLDER).delete("orderId = 4")
print(DeltaTable(FOLDER).version(), sorted(DeltaTable(FOLDER).to_pyarrow_table()["orderId"].to_pylist()))
