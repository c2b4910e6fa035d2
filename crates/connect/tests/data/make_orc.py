"""Makes the ORC files of this folder with tools that are not ours: Arrow's writer, and that of pyorc, which
writes times of other zones, unions and old encodings.

pip install pyarrow pyorc tzdata
"""

import datetime as dt
import decimal
import zoneinfo

import pyarrow as pa
import pyarrow.orc as orc
import pyorc

UTC = dt.timezone.utc


def decimals(values, precision, scale):
    return pa.array([None if v is None else decimal.Decimal(v) for v in values], pa.decimal128(precision, scale))


def types():
    """Five rows, of which the fourth is NULL in every column."""
    text = pa.array(["a", "", "é€😀", None, "x" * 300])
    return pa.table({
        "tinyInt": pa.array([-128, 0, 127, None, 1], pa.int8()),
        "small": pa.array([-32768, 0, 32767, None, 1], pa.int16()),
        "whole": pa.array([-2147483648, 0, 2147483647, None, 1], pa.int32()),
        "large": pa.array([-9223372036854775808, 0, 9223372036854775807, None, 1], pa.int64()),
        "single": pa.array([-1.5, 0.1, 3.4e38, None, 1], pa.float32()),
        "double": pa.array([-1.5, 0.1, 1e300, None, 5e-324], pa.float64()),
        "ok": pa.array([True, False, True, None, False]),
        "text": text,
        "bytes": pa.array([b"", b"\x00\xff", b"abc", None, b"x"], pa.binary()),
        "money": decimals(["-99999999.99", "0.00", "0.01", None, "12345678.90"], 10, 2),
        "huge": decimals(["-" + "9" * 38, "0", "1", None, "9" * 38], 38, 0),
        "tiny": decimals(["-0." + "9" * 20, "0." + "0" * 19 + "1", "0.5", None, "0." + "1" * 20], 20, 20),
        "day": pa.array([dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), None, dt.date(9999, 12, 31)]),
        "at": pa.array([dt.datetime(1900, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 58),
                        dt.datetime(2024, 3, 31, 2, 30, 0, 123456), None, dt.datetime(2015, 1, 1)], pa.timestamp("us")),
        "instant": pa.array([dt.datetime(1900, 1, 1, tzinfo=UTC), dt.datetime(1969, 12, 31, 23, 59, 58, tzinfo=UTC),
                             dt.datetime(2024, 3, 31, 2, 30, 0, 123456, tzinfo=UTC), None,
                             dt.datetime(2015, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        "tags": pa.array([["a", None, "b"], [], [""], None, ["c"]], pa.list_(pa.string())),
        "lists": pa.array([[[1, 2], []], [None], [[3]], None, []], pa.list_(pa.list_(pa.int64()))),
        "counts": pa.array([[("x", 1), ("y", None)], [], [("", 2)], None, [("z", 3)]], pa.map_(pa.string(), pa.int64())),
        "address": pa.array([{"city": "Köln", "zip": 1}, {"city": None, "zip": 2}, {"city": "Bonn", "zip": None}, None,
                             {"city": "x", "zip": 3}], pa.struct([("city", pa.string()), ("zip", pa.int32())])),
        "people": pa.array([[{"name": "a", "ages": [1, 2]}, None], [], [{"name": None, "ages": None}], None,
                            [{"name": "b", "ages": []}]],
                           pa.list_(pa.struct([("name", pa.string()), ("ages", pa.list_(pa.int32()))]))),
        "nothing": pa.array([None] * 5, pa.int64()),
    })


for kind in ["uncompressed", "zlib", "snappy", "lz4", "zstd"]:
    orc.write_table(types(), f"types-{kind}.orc", compression=kind)

# Many rows in many stripes, whose runs are of every encoding of integers.
rows = 60_000
orc.write_table(pa.table({
    "id": pa.array(range(rows), pa.int64()),
    "same": pa.array([7] * rows, pa.int32()),
    "wild": pa.array([(n * 2654435761) % 4294967296 - 2147483648 for n in range(rows)], pa.int64()),
    "outlier": pa.array([(1 << 60) if n % 500 == 499 else n % 11 for n in range(rows)], pa.int64()),
    "kind": pa.array([["new", "paid", None, "sent"][n % 4] for n in range(rows)]),
    "even": pa.array([None if n % 3 else n % 2 == 0 for n in range(rows)]),
    "at": pa.array([dt.datetime(2020, 1, 1) + dt.timedelta(seconds=n, microseconds=n % 7 * 10) for n in range(rows)],
                   pa.timestamp("us")),
}), "stripes.orc", stripe_size=64 << 10, compression="zstd", dictionary_key_size_threshold=0.5)

# Times without a zone as a writer in another zone stores them, some in the hours that are skipped or come twice.
TIMES = [dt.datetime(2024, 3, 31, 1, 59, 59), dt.datetime(2024, 7, 1, 12, 0, 0, 123000), dt.datetime(2024, 10, 27, 3, 0),
         dt.datetime(1969, 12, 31, 23, 0, 0, 500000), dt.datetime(1950, 6, 1, 8, 30)]
for zone, name in [("Europe/Berlin", "berlin"), ("America/New_York", "york")]:
    with open(f"zone-{name}.orc", "wb") as file:
        with pyorc.Writer(file, "struct<id:int,at:timestamp,instant:timestamp with local time zone>",
                          timezone=zoneinfo.ZoneInfo(zone)) as writer:
            for n, time in enumerate(TIMES):
                aware = time.replace(tzinfo=UTC)
                writer.write((n, aware, aware))

# Arrow writes parts of a second before 1970 as no other writer does, and nanoseconds.
for name, unit, value in [("before-1970", "us", -1_500_000), ("nanoseconds", "ns", 1_500_000_000_000_000_001)]:
    orc.write_table(pa.table({"at": pa.array([value], pa.timestamp(unit))}), f"{name}.orc")

with open("union.orc", "wb") as file:
    with pyorc.Writer(file, "struct<id:int,u:uniontype<int,double>,c:char(5),v:varchar(5)>") as writer:
        for row in [(1, 5, "ab", "ab"), (2, 0.5, "abcde", "abcde"), (3, 7, None, None)]:
            writer.write(row)

with open("empty.orc", "wb") as file:
    with pyorc.Writer(file, "struct<id:int,name:string>"):
        pass
