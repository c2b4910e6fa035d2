"""A Flight SQL server for tests: a DuckDB in memory, for the user `shop`, until standard input ends."""

import base64
import itertools
import sys
import threading

import duckdb
import pyarrow as pa
from pyarrow import flight

port, password = int(sys.argv[1]), sys.argv[2]
database = duckdb.connect(":memory:")
database.execute("set global TimeZone = 'America/New_York'")
lock = threading.Lock()
PREFIX = "type.googleapis.com/arrow.flight.protocol.sql."


def read(data):
    """The fields of a message of protobuf: numbers, and texts or messages."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, at = data[at:at + value], at + value
        yield tag >> 3, value


def command(data):
    """The name of what is asked, and its fields."""
    outer = dict(read(data))
    return outer[1].decode().removeprefix(PREFIX), list(read(outer.get(2, b"")))


def text(fields, number):
    return next((value.decode() for key, value in fields if key == number), None)


def run(sql, parameters=None):
    with lock:
        try:
            return database.cursor().execute(sql, parameters or []).fetch_arrow_table()
        except duckdb.Error as error:
            raise flight.FlightServerError(str(error).split("\n\nLINE")[0]) from None


def info():
    """What the server is."""
    words = {0: "Acme Flight SQL Server", 1: "1.0", 2: str(pa.__version__)}
    strings = pa.array(list(words.values()), pa.utf8())
    others = [pa.bool_(), pa.int64(), pa.int32(), pa.list_(pa.utf8()), pa.map_(pa.int32(), pa.list_(pa.int32()))]
    values = pa.UnionArray.from_dense(
        pa.array([0] * len(words), pa.int8()), pa.array(range(len(words)), pa.int32()),
        [strings] + [pa.array([], kind) for kind in others],
        ["string_value", "bool_value", "bigint_value", "int32_bitmask", "string_list", "int32_to_int32_list_map"],
        [0, 1, 2, 3, 4, 5])
    schema = pa.schema([pa.field("info_name", pa.uint32(), False), pa.field("value", values.type, False)])
    return pa.table([pa.array(list(words), pa.uint32()), values], schema=schema)


def tables(fields):
    catalog, schema, table = (text(fields, number) or "%" for number in (1, 2, 3))
    found = run(
        "select table_catalog, table_schema, table_name, table_type from information_schema.tables "
        "where table_catalog like ? and table_schema like ? and table_name like ? order by all",
        [catalog, schema, table]).to_pylist()
    columns = [list(row.values()) for row in found]
    names = [("catalog_name", True), ("db_schema_name", True), ("table_name", False), ("table_type", False)]
    shape = [pa.field(name, pa.utf8(), nullable) for name, nullable in names]
    arrays = [pa.array([row[at] for row in columns], pa.utf8()) for at in range(4)]
    if any(number == 5 and value for number, value in fields):
        schemas = [run(f'select * from "{row[1]}"."{row[2]}" limit 0').schema.serialize().to_pybytes() for row in columns]
        arrays.append(pa.array(schemas, pa.binary()))
        shape.append(pa.field("table_schema", pa.binary(), False))
    return pa.table(arrays, schema=pa.schema(shape))


def answer(name, fields):
    if name == "CommandStatementQuery":
        return run(text(fields, 1))
    if name == "CommandGetSqlInfo":
        return info()
    if name == "CommandGetCatalogs":
        return pa.table([["memory"]], schema=pa.schema([pa.field("catalog_name", pa.utf8(), False)]))
    if name == "CommandGetDbSchemas":
        found = run("select distinct table_catalog, table_schema from information_schema.tables order by all")
        shape = [pa.field("catalog_name", pa.utf8()), pa.field("db_schema_name", pa.utf8(), False)]
        return pa.table([found.column(0).cast(pa.utf8()), found.column(1).cast(pa.utf8())], schema=pa.schema(shape))
    if name == "CommandGetTables":
        return tables(fields)
    raise flight.FlightServerError(f"{name} is not known here")


class Server(flight.FlightServerBase):
    waiting, numbers = {}, itertools.count()

    def get_flight_info(self, context, descriptor):
        table, ticket = answer(*command(descriptor.command)), str(next(self.numbers)).encode()
        self.waiting[ticket] = table
        return flight.FlightInfo(table.schema, descriptor, [flight.FlightEndpoint(ticket, [])], table.num_rows, -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(self.waiting.pop(ticket.ticket))

    def do_put(self, context, descriptor, reader, writer):
        name, fields = command(descriptor.command)
        if name != "CommandStatementUpdate":
            raise flight.FlightServerError(f"{name} is not known here")
        run(text(fields, 1))
        # DoPutUpdateResult: the number of rows is not known.
        writer.write(pa.py_buffer(b"\x08" + b"\xff" * 9 + b"\x01"))

    def do_action(self, context, action):
        raise flight.FlightServerError(f"{action.type} is not known here")


class Handshake(flight.ServerAuthHandler):
    """The header of the request says it all."""

    def authenticate(self, outgoing, incoming):
        pass

    def is_valid(self, token):
        return ""


class Session(flight.ServerMiddleware):
    def sending_headers(self):
        return {"authorization": "Bearer session-of-shop"}


class Login(flight.ServerMiddlewareFactory):
    def start_call(self, info, headers):
        given = {key.lower(): value for key, value in headers.items()}.get("authorization", [""])[0]
        basic = base64.b64encode(f"shop:{password}".encode()).decode()
        # Some clients leave out the end.
        if given.rstrip("=") not in (f"Basic {basic}".rstrip("="), "Bearer session-of-shop"):
            raise flight.FlightUnauthenticatedError("the user or the password is wrong")
        return Session()


server = Server(f"grpc://127.0.0.1:{port}", auth_handler=Handshake(), middleware={"login": Login()})
threading.Thread(target=server.serve, daemon=True).start()
sys.stdin.read()
