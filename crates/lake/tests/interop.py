"""Reads a lake's tables with other engines, and writes to them as another engine.

interop.py read <lake>     prints the rows of every table, as deltalake, Polars and pandas see them
interop.py write <lake>    appends to, deletes from, overwrites and optimizes tables
"""

import json
import pathlib
import os
import sys

import deltalake
import polars
import pyarrow


def rows(frame):
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in frame.to_pylist())


def read(lake):
    result = {}
    for log in sorted(pathlib.Path(lake).glob("*/*/_delta_log")):
        path = log.parent
        table = deltalake.DeltaTable(str(path))
        arrow = pyarrow.table(table.to_pyarrow_table())
        name = f"{path.parent.name}.{path.name}"
        seen = rows(arrow)
        pandas = table.to_pandas()
        assert len(pandas) == len(seen), name
        try:
            frame = polars.read_delta(str(path))
        except polars.exceptions.ComputeError as error:
            raise SystemExit(f"{name}: polars: {error}")
        assert frame.height == len(seen), f"{name}: polars {frame.height}, deltalake {len(seen)}"
        assert sorted(frame.columns) == sorted(arrow.column_names), name
        history = table.history(1)[0]
        assert history["engineInfo"].startswith("tidemill/"), history
        result[name] = {"version": table.version(), "rows": seen, "types": {f.name: str(f.type) for f in arrow.schema}}
    print(json.dumps(result))


def write(lake):
    path = lambda name: str(pathlib.Path(lake) / "f" / name)
    new = pyarrow.table({"id": pyarrow.array([100, 101], pyarrow.int64()), "name": ["x", None]})
    deltalake.write_deltalake(path("append"), new, mode="append")
    deltalake.write_deltalake(path("overwrite"), new, mode="overwrite")
    deltalake.DeltaTable(path("delete")).delete("id < 3")
    deltalake.DeltaTable(path("optimize")).optimize.compact()
    deltalake.DeltaTable(path("merge")).merge(
        new, "t.id = s.id", source_alias="s", target_alias="t"
    ).when_not_matched_insert_all().execute()
    partitioned = pyarrow.table({"part": ["a/b %=ü", "new one"], "n": pyarrow.array([7, 8], pyarrow.int64())})
    deltalake.write_deltalake(path("parts"), partitioned, mode="append")
    deltalake.DeltaTable(path("checkpoint")).create_checkpoint()
    deltalake.write_deltalake(path("checkpoint"), new, mode="append")


{"read": read, "write": write}[sys.argv[1]](sys.argv[2])
# Not through the interpreter's end: threads of the readers may still run there, and abort.
sys.stdout.flush()
os._exit(0)
