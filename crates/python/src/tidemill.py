# The part of Tidemill that runs inside of the user's Python: it gives a model what it asks for, and
# sends what the model gives. Frames go through the standard input and output of the process; what the
# model prints goes to its standard error.
import importlib.util
import io
import json
import linecache
import os
import re
import struct
import sys
import threading
import time
import traceback
import types

OWN = "<tidemill>"
ROWS = 65_536

frames_in = os.fdopen(os.dup(0), "rb")
frames_out = os.fdopen(os.dup(1), "wb")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True, errors="backslashreplace")

asking = threading.RLock()
sending = threading.RLock()


class QueryError(Exception):
    """A query that the engine refused, or that failed."""


def send(kind, payload=b""):
    with sending:
        frames_out.write(kind + struct.pack("<I", len(payload)))
        frames_out.write(payload)
        frames_out.flush()


def receive():
    head = frames_in.read(5)
    if len(head) == 5:
        (length,) = struct.unpack("<I", head[1:])
        payload = frames_in.read(length)
        if len(payload) == length:
            return head[:1], payload
    os._exit(1)  # Nobody is there any more.


def ask(kind, payload):
    with asking:
        send(kind, payload)
        kind, payload = receive()
    if kind == b"E":
        raise QueryError(payload.decode())
    return kind, payload


def has(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def arrow():
    import pyarrow
    import pyarrow.ipc

    return pyarrow


class Relation:
    """Rows of the lake that are not read yet."""

    def __init__(self, sql, alias="t"):
        self._sql = sql.strip().rstrip(";")
        self._alias = alias

    # What it is made of.

    def _from(self, alias=None):
        return f"(\n{self._sql}\n) as {alias or self._alias}"

    def _with(self, sql):
        return Relation(sql, self._alias)

    def filter(self, condition):
        return self._with(f"select * from {self._from()} where {condition}")

    where = filter

    def project(self, *expressions):
        return self._with(f"select {', '.join(map(str, expressions))} from {self._from()}")

    select = project

    def aggregate(self, expressions, group_by=""):
        if not isinstance(expressions, str):
            expressions = ", ".join(map(str, expressions))
        if not isinstance(group_by, str):
            group_by = ", ".join(map(str, group_by))
        group = f" group by {group_by}" if group_by else ""
        return self._with(f"select {expressions} from {self._from()}{group}")

    def order(self, expressions):
        return self._with(f"select * from {self._from()} order by {expressions}")

    def sort(self, *columns):
        return self.order(", ".join(map(str, columns)))

    def limit(self, rows, offset=0):
        return self._with(f"select * from {self._from()} limit {int(rows)} offset {int(offset)}")

    def distinct(self):
        return self._with(f"select distinct * from {self._from()}")

    def set_alias(self, alias):
        return Relation(self._sql, alias)

    alias = set_alias

    def union(self, other):
        return self._with(f"select * from {self._from()} union all select * from {other._from()}")

    def join(self, other, condition, how="inner"):
        right = "u" if other._alias == self._alias else other._alias
        names = [name.strip() for name in condition.split(",")]
        if all(name.isidentifier() for name in names):
            condition = f"using ({', '.join(names)})"
        else:
            condition = f"on {condition}"
        return self._with(
            f"select * from {self._from()} {how} join {other._from(right)} {condition}"
        )

    def query(self, name, sql):
        return self._with(f"with {name} as (\n{self._sql}\n) {sql}")

    def sql_query(self):
        return self._sql

    def execute(self):
        return self

    # How it is read.

    def _parts(self):
        """The schema, then the batches, each as a stream of Arrow's in bytes."""
        _, payload = ask(b"Q", self._sql.encode())
        number, open_ = payload[:4], True
        try:
            yield payload[4:]
            while True:
                kind, payload = ask(b"N", number)
                if kind == b"Z":
                    open_ = False
                    return
                yield payload
        finally:
            if open_:
                send(b"C", number)

    def record_batches(self, rows=None):
        """The rows as a pyarrow.RecordBatchReader, a few at a time."""
        pa = arrow()
        parts = self._parts()
        schema = pa.ipc.open_stream(next(parts)).schema

        def batches():
            for part in parts:
                yield from pa.ipc.open_stream(part)

        return pa.RecordBatchReader.from_batches(schema, batches())

    fetch_record_batch = fetch_arrow_reader = to_arrow_reader = record_batches

    def arrow(self, *_):
        """All rows as a pyarrow.Table."""
        return self.record_batches().read_all()

    to_arrow = to_arrow_table = fetch_arrow_table = arrow

    def __arrow_c_stream__(self, requested_schema=None):
        return self.record_batches().__arrow_c_stream__(requested_schema)

    def df(self, **_):
        """All rows as a pandas.DataFrame."""
        return to_pandas(self.arrow())

    to_df = fetchdf = fetch_df = to_pandas = toPandas = pandas = df

    def pl(self, *_, lazy=False):
        """All rows as a polars.DataFrame."""
        import polars

        parts = [polars.read_ipc_stream(io.BytesIO(part)) for part in self._parts()]
        frame = polars.concat(parts, rechunk=False)
        return frame.lazy() if lazy else frame

    to_polars = polars = pl

    def fetchall(self):
        columns = [column.to_pylist() for column in self.arrow().columns]
        return list(zip(*columns))

    def fetchone(self):
        rows = self.limit(1).fetchall()
        return rows[0] if rows else None

    def fetchmany(self, size=1):
        return self.limit(size).fetchall()

    collect = fetchall

    # What it looks like.

    @property
    def schema(self):
        parts = self._parts()
        schema = arrow().ipc.open_stream(next(parts)).schema
        parts.close()
        return schema

    @property
    def columns(self):
        return self.schema.names

    @property
    def types(self):
        return [str(field.type) for field in self.schema]

    dtypes = types

    def __len__(self):
        return self.aggregate("count(*)").fetchone()[0]

    @property
    def shape(self):
        return len(self), len(self.columns)

    def __bool__(self):
        return True

    def __repr__(self):
        return f"<rows of: {self._sql}>"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"rows that are not read yet have no `{name}`; read them with .df() (pandas), .pl() "
            "(Polars) or .arrow() (PyArrow), or say dbt.config(dataframe='pandas') to get data "
            "frames at once"
        )

    def __getitem__(self, key):
        self.__getattr__("[...]")


FRAMES = {
    "pandas": ("DataFrame",),
    "polars": ("DataFrame", "LazyFrame"),
    "pyarrow": ("Table", "RecordBatch", "RecordBatchReader"),
}


def is_frame(value):
    kind = type(value)
    return kind.__name__ in FRAMES.get(kind.__module__.partition(".")[0], ())


class Session:
    """Runs queries in Tidemill's engine; those that name a registered frame, or one of a variable, in DuckDB."""

    def __init__(self):
        self._frames = {}
        self._duckdb = None
        self._brought = set()

    def sql(self, query, *parameters, **options):
        if parameters or options.get("params"):
            raise TypeError("session.sql() takes a query without parameters")
        return self._run(query, sys._getframe(1))

    query = execute = sql

    def _run(self, query, scope):
        variables = self._variables(query, scope)
        frames = any(map(is_frame, variables.values()))
        if frames or self._registered(query):
            for name, value in variables.items():
                self.register(name, value)
            for place in tables_of(self._duckdb, query):
                self._bring(place)
            return self._duckdb.sql(query)
        return Relation(with_relations(query, variables))

    def table(self, name):
        return self._run(f"select * from {name}", sys._getframe(1))

    view = table

    def register(self, name, frame):
        """Gives a frame a name for queries of this session."""
        if self._duckdb is None:
            try:
                import duckdb
            except ModuleNotFoundError:
                raise ModuleNotFoundError(
                    "session.register() queries frames with DuckDB, which this Python does not have",
                    name="duckdb",
                ) from None
            self._duckdb = duckdb.connect()
        self._frames[name] = frame
        self._duckdb.register(name, frame.arrow() if isinstance(frame, Relation) else frame)
        return self

    def unregister(self, name):
        self._frames.pop(name, None)
        if self._duckdb is not None:
            self._duckdb.unregister(name)
        return self

    def _bring(self, place):
        """Puts the rows of a table of the lake where a query of frames names it."""
        known = place in self._brought or (len(place) == 1 and place[0] in self._frames)
        if known or os.path.exists(place[-1]) or "*" in place[-1]:
            return
        quoted = ['"' + part.replace('"', '""') + '"' for part in place]
        # A column or a common table expression may have the name, too: what the lake does not have
        # is DuckDB's to find.
        try:
            rows = Relation(f"select * from {'.'.join(quoted)}").arrow()
        except QueryError as error:
            if "does not exist" in str(error):
                return
            raise
        if len(place) == 3:
            self._duckdb.execute(f"attach if not exists ':memory:' as {quoted[0]}")
        if len(place) > 1:
            self._duckdb.execute(f"create schema if not exists {'.'.join(quoted[:-1])}")
        self._duckdb.register("__tidemill_brought", rows)
        self._duckdb.execute(f"create table {'.'.join(quoted)} as from __tidemill_brought")
        self._duckdb.unregister("__tidemill_brought")
        self._brought.add(place)

    def _registered(self, query):
        return any(name in words_of(query) for name in self._frames)

    def _variables(self, query, scope):
        """Rows and frames of variables that a query names, as in DuckDB: where no table has the name."""
        found = {}
        for name in words_of(query) - self._frames.keys():
            value = scope.f_locals.get(name, scope.f_globals.get(name))
            if (isinstance(value, Relation) or is_frame(value)) and not is_table(name):
                found[name] = value
        return found

    def __getattr__(self, name):
        raise AttributeError(
            f"the session has no `{name}`; it has sql(query), table(name) and register(name, frame); rows are read "
            "with .df(), .pl() or .arrow()"
        )


def words_of(query):
    return set(re.findall(r"\w+", query))


def is_table(name):
    try:
        Relation(f'select * from "{name}"').schema
        return True
    except QueryError as error:
        if "does not exist" in str(error):
            return False
        raise


def with_relations(query, relations):
    """The query with rows that are not read yet in the places of their names."""
    if not relations:
        return query
    parts = ", ".join(f"{name} as (\n{rows.sql_query()}\n)" for name, rows in relations.items())
    begin = re.match(r"\s*with\s+(recursive\s+)?", query, re.IGNORECASE)
    if begin is None:
        return f"with {parts}\n{query}"
    return f"{begin.group()}{parts}, {query[begin.end():]}"


def tables_of(connection, query):
    """The tables that a query names, as DuckDB reads it: (name,), (schema, name), (database, schema, name)."""
    text = connection.execute("select json_serialize_sql($1::varchar)", [query]).fetchall()[0][0]
    found, nodes = [], [json.loads(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes.extend(node)
        elif isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                parts = (node["catalog_name"], node["schema_name"], node["table_name"])
                found.append(tuple(part for part in parts if part))
            nodes.extend(node.values())
    return found


def to_pandas(table):
    """As DuckDB gives it: decimals as floats, dates as times, whole numbers with gaps as such."""
    pa = arrow()
    import pandas as pd

    gaps = {
        pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(), pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.bool_(): pd.BooleanDtype(),
    }
    for at, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_decimal(kind):
            table = table.set_column(at, field.name, table.column(at).cast(pa.float64()))
        elif pa.types.is_date(kind):
            table = table.set_column(at, field.name, table.column(at).cast(pa.timestamp("us")))
    frame = table.to_pandas()
    for at, field in enumerate(table.schema):
        if field.type in gaps and table.column(at).null_count:
            frame.isetitem(at, table.column(at).to_pandas(types_mapper=gaps.get))
    return frame


def convert(relation, dataframe):
    if dataframe == "pandas":
        return relation.df()
    if dataframe == "polars":
        return relation.pl()
    if dataframe == "pyarrow":
        return relation.arrow()
    return relation


def from_pandas(frame):
    pa = arrow()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        reason = "; ".join(map(str, error.args))
        raise TypeError(f"the data frame's values have no one type a column: {reason}") from None
    return table.replace_schema_metadata(None)


def stream_of(schema, batches=()):
    pa = arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return memoryview(sink.getvalue())


def parts_of(result):
    """What a model gives, as streams of Arrow's in bytes; the first tells the columns."""
    library = type(result).__module__.partition(".")[0]
    if library == "polars":
        if type(result).__name__ == "LazyFrame":
            result = result.collect()
        if type(result).__name__ == "Series":
            result = result.to_frame()
        pieces = [result.head(0), *result.iter_slices(ROWS)]
        for piece in pieces:
            sink = io.BytesIO()
            piece.write_ipc_stream(sink)
            yield sink.getbuffer()
    elif library == "pandas" and type(result).__name__ == "DataFrame":
        yield from parts_of(from_pandas(result))
    elif library == "pyarrow" and type(result).__name__ == "Table":
        yield stream_of(result.schema)
        for batch in result.to_batches(max_chunksize=ROWS):
            yield stream_of(result.schema, [batch])
    elif library == "pyarrow" and type(result).__name__ == "RecordBatch":
        yield from parts_of(arrow().Table.from_batches([result]))
    elif library == "pyarrow" and hasattr(result, "read_next_batch"):
        yield stream_of(result.schema)
        for batch in result:
            for start in range(0, batch.num_rows, ROWS):
                yield stream_of(result.schema, [batch.slice(start, ROWS)])
    elif isinstance(result, Relation):
        yield from result._parts()
    elif hasattr(result, "__arrow_c_stream__"):
        yield from parts_of(arrow().RecordBatchReader.from_stream(result))
    elif hasattr(result, "to_reader"):
        yield from parts_of(result.to_reader())
    elif hasattr(result, "__next__") or isinstance(result, (list, tuple)) and result and not isinstance(result[0], (dict, list, tuple, str, int, float)):
        found = False
        for piece in result:
            found = True
            yield from parts_of(piece)
        if not found:
            raise TypeError("the model gave no data frame, not even an empty one")
    else:
        for method in ("to_arrow", "arrow", "to_pandas", "toPandas"):
            if callable(getattr(result, method, None)):
                yield from parts_of(getattr(result, method)())
                return
        raise TypeError(
            f"a model returns a data frame of pandas, Polars or PyArrow, rows of dbt.ref() or "
            f"session.sql(), or an iterator of them, not {type(result).__name__}"
        )


def no_var(_, name):
    if name in ("var", "env_var", "target"):
        raise AttributeError(
            f"as in dbt, a Python model has no dbt.{name}; put the value under `config:` of the "
            "model in a YAML file, where templates are rendered, and read it with dbt.config.get"
        )
    raise AttributeError(f"the object `dbt` has no `{name}`")


def own_frames_out(error):
    while error is not None:
        error.stack[:] = [
            frame
            for frame in error.stack
            if frame.filename != OWN and not frame.filename.startswith("<frozen")
        ]
        own_frames_out(error.__cause__)
        error = error.__context__


def fail(error, file):
    told = traceback.TracebackException.from_exception(error)
    own_frames_out(told)
    lines = [frame.lineno for frame in told.stack if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    message = "".join(told.format_exception_only()).strip()
    failure = {
        "message": message.splitlines()[-1] if isinstance(error, SyntaxError) else message,
        "traceback": "".join(told.format()).strip(),
        "line": lines[-1] if lines else None,
    }
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = {"sklearn": "scikit-learn", "yaml": "pyyaml", "cv2": "opencv-python"}
        top = error.name.partition(".")[0]
        failure["hint"] = f"install it with `{sys.executable} -m pip install {name.get(top, top)}`"
    send(b"F", json.dumps(failure).encode())


def watch(parent):
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main():
    _, payload = receive()
    begin = json.loads(payload)
    file, code, dataframe = begin["file"], begin["code"], begin["dataframe"]
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
    # The project's own modules can be imported; those that are installed come first.
    sys.path[:] = [path for path in sys.path if path] + [begin["folder"]]
    sys.argv = [file]
    needed = {"pandas": ["pandas", "pyarrow"], "polars": ["polars"], "pyarrow": ["pyarrow"]}
    missing = [name for name in needed.get(dataframe, []) if not has(name)]
    if not missing and not has("pyarrow") and not has("polars"):
        missing = ["pyarrow"]
    if missing:
        version = ".".join(map(str, sys.version_info[:3]))
        failure = {
            "missing": True,
            "message": f"`{sys.executable}` (Python {version}) has no {' and no '.join(missing)}",
            "hint": f"install it with `{sys.executable} -m pip install {' '.join(missing)}`",
        }
        send(b"F", json.dumps(failure).encode())
        return
    lines = code.splitlines(keepends=True)
    linecache.cache[file] = (len(code), None, lines, file)
    module = types.ModuleType("__dbt_" + begin["name"])
    module.__file__ = file
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, file, "exec", dont_inherit=True), module.__dict__)
        dbt = module.dbtObj(lambda relation: convert(Relation(f"select * from {relation}"), dataframe))
        type(dbt).__getattr__ = no_var
        result = module.model(dbt, Session())
        if isinstance(result, Relation):
            send(b"R", result.sql_query().encode())
        else:
            for part in parts_of(result):
                send(b"O", part)
        send(b"X")
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:
        fail(error, file)


main()
