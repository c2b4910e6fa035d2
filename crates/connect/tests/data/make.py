"""Makes the files of this folder with tools that are not ours.

pip install fastavro[codecs] openpyxl xlsxwriter xlwt odfpy
"""

import datetime as dt
import decimal
import uuid

import fastavro
import odf.opendocument
import odf.style
import odf.table
import odf.text
import openpyxl
import xlsxwriter
import xlwt

SCHEMA = fastavro.parse_schema({
    "type": "record", "name": "Order", "namespace": "shop",
    "fields": [
        {"name": "orderId", "type": "long"},
        {"name": "small", "type": ["null", "int"]},
        {"name": "ok", "type": "boolean"},
        {"name": "f", "type": "float"},
        {"name": "d", "type": "double"},
        {"name": "s", "type": ["null", "string"]},
        {"name": "b", "type": "bytes"},
        {"name": "fix", "type": {"type": "fixed", "name": "four", "size": 4}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "PAID"]}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "t_ms", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "at_ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "at_us", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "local_us", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "uid", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "address", "type": {"type": "record", "name": "Address", "fields": [
            {"name": "city", "type": "string"}, {"name": "zip", "type": ["null", "int"]}]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "long"}},
        {"name": "number", "type": ["null", "int", "double"]},
        {"name": "mixed", "type": ["null", "string", "long", "Address"]},
    ],
})
UTC = dt.timezone.utc


def order(n):
    return {
        "orderId": n, "small": None if n % 2 else n, "ok": n % 2 == 0, "f": n + 0.5, "d": n / 4,
        "s": None if n == 1 else f"é{n}", "b": bytes([n, 255]), "fix": b"abc" + bytes([48 + n]),
        "kind": ["NEW", "PAID"][n % 2], "amount": decimal.Decimal(n) / 100 - 1,
        "day": dt.date(2024, 2, 28) + dt.timedelta(days=n), "t_ms": dt.time(1, 2, 3, n * 1000),
        "at_ms": dt.datetime(2024, 1, 1, 12, 0, n, 5000, tzinfo=UTC),
        "at_us": dt.datetime(1969, 12, 31, 23, 59, 59, n, tzinfo=UTC),
        "local_us": dt.datetime(2024, 1, 1, 12, 0, n, 7), "uid": uuid.UUID(int=n),
        "address": {"city": "Köln", "zip": None if n else 50667}, "tags": ["a", "b"][:n],
        "counts": {"x": n}, "number": [None, n, n / 8][n % 3],
        "mixed": [None, "text", n, {"city": "Bonn", "zip": 1}][n % 4],
    }


for codec in ["null", "deflate", "snappy", "zstandard", "bzip2", "xz"]:
    with open(f"orders-{codec}.avro", "wb") as out:
        fastavro.writer(out, SCHEMA, [order(n) for n in range(4)], codec=codec, sync_interval=100)
with open("numbers.avro", "wb") as out:
    fastavro.writer(out, "long", [1, -2, 3])

HEADER = ["Order Id", "placed", "Amount", "Customer", "paid", "at", "Code", "Open hours"]
ROWS = [
    [1, dt.date(2024, 1, 31), 10.5, "Müller", True, dt.datetime(2024, 1, 31, 8, 30), 7, dt.time(9, 30)],
    [2, dt.date(2024, 2, 1), 20, "N/A", False, dt.datetime(2024, 2, 1), "007", dt.time(0, 0, 1)],
    [3, None, -0.25, 'said "no"\nand left', None, dt.datetime(1901, 1, 1, 23, 59, 59), None, None],
]

book = openpyxl.Workbook()
sheet = book.active
sheet.title = "Orders"
sheet["A1"] = "A report"
for column, value in enumerate(HEADER, 2):
    sheet.cell(3, column, value)
for at, row in enumerate(ROWS, 4):
    for column, value in enumerate(row, 2):
        sheet.cell(at + (1 if at == 6 else 0), column, value)
sheet["L7"] = "#N/A"
sheet["L7"].data_type = "e"
for month in ["2024-01", "2024-02"]:
    other = book.create_sheet(month)
    other.append(["region", "total"])
    other.append(["north", int(month[-1]) * 10])
    other.append([None, int(month[-1]) * 11])
    other.merge_cells("A2:A3")
book["2024-02"].append(["south", 1, "stray"])
hidden = book.create_sheet("secret", 0)
hidden.sheet_state = "hidden"
hidden.append(["x"])
book.save("book.xlsx")

book = xlsxwriter.Workbook("texts.xlsx")
sheet = book.add_worksheet()
for at, row in enumerate([["id", "note"], [1, "a"], [2, "b & <c>"], [3, "a"]]):
    sheet.write_row(at, 0, row)
book.close()

book = xlwt.Workbook()
sheet = book.add_sheet("Orders")
date = xlwt.easyxf(num_format_str="YYYY-MM-DD")
for at, row in enumerate([["id", "day", "price"], [1, dt.date(2024, 1, 31), 2.5], [2, None, 3]]):
    for column, value in enumerate(row):
        if value is not None:
            sheet.write(at, column, value, date if isinstance(value, dt.date) else xlwt.Style.default_style)
book.save("old.xls")

doc = odf.opendocument.OpenDocumentSpreadsheet()
table = odf.table.Table(name="Sheet1")
for row in [["id", "day", "ok"], [1.0, dt.date(2024, 1, 31), True], [2.5, dt.date(2024, 2, 29), False]]:
    tr = odf.table.TableRow()
    for value in row:
        if isinstance(value, bool):
            cell = odf.table.TableCell(valuetype="boolean", booleanvalue=str(value).lower())
        elif isinstance(value, float):
            cell = odf.table.TableCell(valuetype="float", value=value)
        elif isinstance(value, dt.date):
            cell = odf.table.TableCell(valuetype="date", datevalue=value.isoformat())
        else:
            cell = odf.table.TableCell(valuetype="string")
        cell.addElement(odf.text.P(text=str(value)))
        tr.addElement(cell)
    table.addElement(tr)
doc.spreadsheet.addElement(table)
doc.save("open.ods")
