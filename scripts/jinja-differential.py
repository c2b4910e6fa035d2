#!/usr/bin/env python3
"""Makes the expected results of the differential tests of `crates/jinja`.

Renders every template below with Python's Jinja2, configured as dbt configures it (sandboxed, with
the extensions `do` and `loopcontrols`, dbt's filters, its context functions and its native
environment for YAML), and writes template and result to `crates/jinja/tests/it/differential/`.
`cargo test -p tidemill-jinja` renders them again in Rust and compares.

    python3 -m venv /some/scratch && /some/scratch/bin/pip install jinja2==3.1.6 pytz
    /some/scratch/bin/python scripts/jinja-differential.py
"""

import ast
import datetime
import hashlib
import itertools
import json
import pathlib
import re

import jinja2
import jinja2.nativetypes
import jinja2.sandbox
import pytz

OUT = pathlib.Path(__file__).parent.parent / "crates/jinja/tests/it/differential"
EXTENSIONS = ["jinja2.ext.do", "jinja2.ext.loopcontrols"]
NOW = datetime.datetime(2024, 2, 29, 13, 5, 30, 250000, tzinfo=pytz.utc)


class Text(str):
    pass


class Native(str):
    pass


class Bool(Native):
    pass


class Number(Native):
    pass


def native_concat(values):
    values = list(values)
    if not values:
        return ""
    if len(values) > 1:
        return "".join(str(value) for value in values)
    raw = values[0]
    if isinstance(raw, Text):
        return str(raw)
    if not isinstance(raw, Native):
        return raw
    try:
        result = ast.literal_eval(raw)
    except (ValueError, SyntaxError, MemoryError):
        result = str(raw)
    is_number = isinstance(result, (int, float)) and not isinstance(result, bool)
    if isinstance(raw, Bool) and not isinstance(result, bool):
        raise ValueError(f"Could not convert value '{raw!s}' into type 'bool'")
    if isinstance(raw, Number) and not is_number:
        raise ValueError(f"Could not convert value '{raw!s}' into type 'number'")
    return result


class NativeEnvironment(jinja2.sandbox.SandboxedEnvironment):
    code_generator_class = jinja2.nativetypes.NativeCodeGenerator
    concat = staticmethod(native_concat)


class NativeTemplate(jinja2.nativetypes.NativeTemplate):
    environment_class = NativeEnvironment

    def render(self, **context):
        return native_concat(self.root_render_func(self.new_context(context)))


NativeEnvironment.template_class = NativeTemplate


class MacroReturn(BaseException):
    def __init__(self, value):
        self.value = value


class Module:
    """What dbt puts in `modules`, as attributes."""

    def __init__(self, **names):
        self.__dict__.update(names)


class Clock(datetime.datetime):
    """`datetime.datetime` with a clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        moment = NOW.astimezone(tz) if tz else NOW.replace(tzinfo=None)
        return moment

    @classmethod
    def utcnow(cls):
        return NOW.replace(tzinfo=None)


def catches(function, kinds):
    def wrapped(value, default=None):
        try:
            return function(value)
        except kinds:
            return default

    return wrapped


def returned(data=None):
    raise MacroReturn(data)


def zipped(*args, default=None):
    try:
        return zip(*args)
    except TypeError:
        return default


def tojson(value, default=None, sort_keys=False):
    try:
        return json.dumps(value, sort_keys=sort_keys)
    except (ValueError, TypeError):
        return default


def context():
    moment = Module(
        datetime=datetime.datetime,
        date=datetime.date,
        time=datetime.time,
        timedelta=datetime.timedelta,
        timezone=datetime.timezone,
        clock=Clock,
    )
    return {
        "modules": Module(datetime=moment, pytz=pytz, re=re, itertools=itertools),
        "fromjson": catches(json.loads, ValueError),
        "tojson": tojson,
        "set": catches(set, TypeError),
        "set_strict": set,
        "zip": zipped,
        "zip_strict": zip,
        "return": returned,
        "local_md5": lambda text: hashlib.md5(text.encode()).hexdigest(),
        "run_started_at": NOW,
        # Plain values that the Rust side has under the same names.
        "n": 5,
        "text": "Hello World",
        "words": ["banana", "Apple", "cherry", "apple"],
        "numbers": [3, 1, 2],
        "nothing": None,
        "row": {"id": 1, "name": "Ada", "tags": ["a", "b"], "nested": {"deep": [1, {"x": "y"}]}},
        "rows": [
            {"id": 1, "name": "Ada", "team": "red", "score": 3.5},
            {"id": 2, "name": "bob", "team": "Blue", "score": 1.25},
            {"id": 3, "name": "Cy", "team": "red", "score": None},
            {"id": 4, "name": "dee", "team": "blue", "score": 9},
        ],
        "day": datetime.date(2024, 2, 29),
        "moment": datetime.datetime(2024, 2, 29, 13, 5, 30, 250000),
    }


FILTERS = {name: lambda value: value for name in ("as_text", "as_bool", "as_native", "as_number")}
NATIVE_FILTERS = {"as_text": Text, "as_bool": Bool, "as_native": Native, "as_number": Number}


def environment(native):
    cls = NativeEnvironment if native else jinja2.sandbox.SandboxedEnvironment
    made = cls(extensions=EXTENSIONS)
    made.filters.update(NATIVE_FILTERS if native else FILTERS)
    made.filters["is_list"] = lambda value: isinstance(value, list)
    return made


def render(template, native, macros):
    names = context()
    made = environment(native)
    if macros:
        module = environment(False).from_string(macros, globals=names).make_module(names)

        def wrap(macro):
            def called(*args, **kwargs):
                try:
                    return macro(*args, **kwargs)
                except MacroReturn as value:
                    return value.value

            return called

        for name, value in list(vars(module).items()):
            if not name.startswith("_") and callable(value):
                names[name] = wrap(value)
    parsed = made.from_string(template, globals=names)
    return parsed.render(**names)


# The cases: area → templates. A tuple is (template, macros); in the areas `native_*` the value
# counts, elsewhere the text.
CASES = {}


def area(name, cases):
    CASES[name] = cases


def expressions(*texts):
    return ["{{ " + text + " }}" for text in texts]


area("arithmetic", expressions(
    "1 + 2", "7 / 2", "8 / 2", "7 // 2", "-7 // 2", "7 // -2", "7 % 3", "-7 % 3", "7 % -3",
    "2 ** 10", "2 ** -1", "2 ** 0.5", "-2 ** 2", "2 ** 3 ** 2", "1.5 + 1", "0.1 + 0.2", "1e3", "1e16",
    "1.0", "100000000000000000000", "1e-5", "0.0001", "123456789.123456789", "1e22", "1e15",
    "5.0 // 2", "-5.5 // 2", "-5.5 % 2", "5.5 % -2", "3 * 'ab'", "'ab' * 0", "[1, 2] * 2", "(1,) * 3",
    "[1] + [2]", "(1,) + (2,)", "'a' + 'b'", "1 - -1", "+5", "- 5", "-n", "+n", "n - 1", "n * n",
    "1_000_000", "0x1f", "0b101", "0o17", "1_0.5", "True + 1", "true + true", "n / 0", "n // 0",
    "n % 0", "1.0 / 0", "1 + 'a'", "'a' + 1", "[1] + (2,)", "none + 1", "'a' - 'b'", "'3' * '3'",
    "2 ** 100", "10 ** 20", "7.0 % 0", "1 ~ 2", "1 ~ none ~ true ~ 1.5 ~ 'x'", "[1] ~ 'x'",
    "1 + 2 * 3 - 4 / 2", "(1 + 2) * 3", "-5 % 3 ~ ''", "2 + 3 ~ 4", "10 // 3 * 3 + 10 % 3", "1.10", "3.14e2",
    "0 ** 0", "0.0", "-0.0", "1e308 * 10", "5 - 3 - 1", "100 / 10 / 2", "1 == 1.0", "'%d' % 3.9",
))

area("comparison", expressions(
    "1 < 2", "1 < 2 < 3", "3 > 2 > 2", "1 == 1 == 1", "1 != 2", "'a' < 'b'", "'a' == 'A'",
    "[1, 2] < [1, 3]", "(1, 2) == (1, 2)", "[1] == (1,)", "{'a': 1} == {'a': 1.0}", "1 in [1, 2]",
    "'a' in 'cat'", "'a' in {'a': 1}", "3 not in numbers", "not 1", "not ''", "not not []",
    "none == none", "none is none", "true == 1", "false == 0", "1 and 2", "0 and 2", "0 or 'x'",
    "'' or none", "1 or boom.x", "0 and boom.x", "1 if true else 2", "1 if false", "'a' if n > 3 else 'b'",
    "1 if false else 2 if false else 3", "missing == missing", "missing == none", "missing is none",
    "not missing", "missing or 'd'", "1 < 'a'", "none < 1", "missing < 1", "[] == missing", "2 in (1, 2)",
    "'x' in none", "1 in 'abc'", "'x' in missing", "1.5 == 1.5", "10000000000000000 == 10000000000000000.0",
    "'1' == 1", "True", "False", "None", "true", "false", "none", "n is defined and n > 2", "(1 < 2) == true",
    "1 <= 1", "2 >= 3", "'abc' >= 'abd'", "{'a': 1} != {'a': 2}", "[[1], [2]] == [[1], [2]]",
))

area("printing", expressions(
    "[1, 'a', none, true, 1.5]", "{'a': 1, 2: 'b', none: false}", "(1,)", "()", "(1, 2)", "[]", "{}",
    "'it\\'s'", "['it\\'s']", "['say \"hi\"']", "['both \\' and \"']", "['tab\\there', 'nl\\n']", "['é', '\\x00', '\\u2028']",
    "[[1, [2]], {'k': [3]}]", "[1.0, 1e100, 1e-7, 123456789012345680.0]", "'a' 'b' \"c\"", "'\\x41\\u0042\\103'",
    "'back\\\\slash'", "'unknown \\d escape'", "missing", "[missing]", "{'a': missing}", "row", "row.nested",
    "{'a': (1, [2, {'b': none}])}", "range(3)", "range(1, 10, 3)", "'🎉'", "['🎉']", "[True, False]", "[-0.0]",
    "{1: 'int', 1.5: 'float', true: 'bool'}", "{'x': 1, 'x': 2}", "{(1, 2): 'tuple'}", "['\\\\']", "[\"\"]",
    "1, 2, 3", "(1, 'a')", "row.keys()", "row.tags", "{'a': 1}.values()", "{'a': 1}.items()", "numbers | string",
    "[none] | string ~ '!'", "'line\\\nbreak'",
))

area("attributes", expressions(
    "row.name", "row['name']", "row.nested.deep[1].x", "row.missing", "row['missing']", "row.missing.deep",
    "row.items() | list", "row.get('id')", "row.get('nope')", "row.get('nope', 3)", "numbers[0]", "numbers[-1]", "numbers[9]",
    "numbers.0", "text[0]", "text[-1]", "text[99]", "text[1:3]", "text[:3]", "text[3:]", "text[::-1]", "text[-3:]", "text[::2]",
    "numbers[1:]", "numbers[:-1]", "numbers[::-1]", "(1, 2, 3)[1:]", "numbers[5:]", "text[2:2]", "none.x", "nothing.x", "n.x",
    "missing.x", "missing['x']", "missing()", "numbers.x", "numbers['x']", "row[0]", "{1: 'a'}[1]", "{1: 'a'}[1.0]", "{true: 'a'}[1]",
    "{'items': 5}.items", "{'items': 5}['items']", "'abc'.upper", "'abc'.nope()", "numbers.nope()", "row.nope()", "none.nope()",
    "''.__class__", "''.__class__.__mro__", "row.__init__", "n.real", "text[1:3:2]", "text[10:0:-2]", "numbers['0']", "row.tags[1]",
    "(row.nested).deep", "'a,b'.split(',')[1]", "['a', 'b'][n - 4]", "{'a': {'b': 1}}.a.b", "[1, 2, 3][0:2][1]", "text[none:2]",
))

area("strings", expressions(
    "'a,b,c'.split(',')", "'a b  c'.split()", "'a b c'.split(' ', 1)", "'a,b,c'.rsplit(',', 1)", "' a b '.split(' ')", "''.split()",
    "''.split(',')", "'a  b c '.rsplit(none, 1)", "'a\\nb\\r\\nc\\n'.splitlines()", "'a\\nb'.splitlines(true)", "'  x '.strip()", "'xxaxx'.strip('x')",
    "'  x '.lstrip() ~ '|'", "'  x '.rstrip() ~ '|'", "'abcba'.strip('ab')", "'AbC'.lower()", "'AbC'.upper()", "'hello world'.title()", "\"they're bill's\".title()",
    "'hELLO'.capitalize()", "'aXb'.swapcase()", "'aaa'.replace('a', 'b')", "'aaa'.replace('a', 'b', 2)", "'abc'.replace('', '-')", "'abc'.startswith('ab')",
    "'abc'.startswith(('x', 'a'))", "'abc'.endswith('bc')", "'abc'.startswith('b', 1)", "'abcabc'.find('c')", "'abcabc'.rfind('c')", "'abc'.find('z')",
    "'abc'.index('b')", "'abc'.index('z')", "'abcabc'.count('bc')", "'aaa'.count('')", "', '.join(['a', 'b'])", "','.join('abc')", "','.join([1])", "','.join([])",
    "'-'.join({'a': 1, 'b': 2})", "'7'.zfill(3)", "'-7'.zfill(4)", "'+7'.zfill(2)", "'a'.ljust(3) ~ '|'", "'a'.rjust(3, '*')", "'ab'.center(5, '.')", "'abc'.center(6, '.')",
    "'a'.center(4, '.')", "'12'.isdigit()", "''.isdigit()", "'1a'.isalnum()", "'ab'.isalpha()", "'½'.isnumeric()", "'²'.isdigit()", "'²'.isdecimal()", "' \\t'.isspace()", "'Ab'.istitle()",
    "'ab'.islower()", "'AB1'.isupper()", "'a_1'.isidentifier()", "'a=b=c'.partition('=')", "'a=b=c'.rpartition('=')", "'abc'.partition('x')", "'abc'.rpartition('x')",
    "'stg_orders'.removeprefix('stg_')", "'orders_v1'.removesuffix('_v1')", "'abc'.removeprefix('x')", "'a\\tb'.expandtabs(4)", "'Straße'.casefold()", "'é'.upper()", "'ÀÉ'.lower()",
    "'abc'.split('')", "'a'.ljust('x')", "'abc'.replace('a')", "'abc'.strip(1)", "'ab' in 'cab'", "'%s' % 'x'", "'%s and %s' % ('a', 1)", "'%5d|%-5d|%05d' % (42, 42, 42)",
    "'%.2f' % 3.14159", "'%x %X %o' % (255, 255, 8)", "'%e' % 12345.678", "'%g' % 0.00001", "'%g' % 1234567", "'%(a)s-%(b)d' % {'a': 'x', 'b': 2}", "'%%'  % ()", "'%r' % 'q'", "'%s' % none",
    "'%s' % [1]", "'%+d' % 5", "'% d' % 5", "'%c' % 65", "'%s' % (1, 2)", "'%s %s' % 1", "'%d' % 'x'", "'%5.1f|' % 2.25", "'%-8s|' % 'ab'", "'%.2s' % 'abc'", "'%*d' % (5, 42)", "'%#x' % 255", "'100%' % ()",
    "'%i' % true", "'{} {}'.format(1, 'a')", "'{0} {1} {0}'.format('a', 'b')", "'{name}'.format(name='x')", "'{:,.2f}'.format(1234567.891)", "'{:>8}|{:<8}|{:^8}'.format('a', 'b', 'c')",
    "'{:08.3f}'.format(3.14159)", "'{:x} {:#x} {:b} {:o} {:c}'.format(255, 255, 5, 8, 65)", "'{:+d} {: d}'.format(3, 3)", "'{:e}'.format(12345.678)", "'{:.3g}'.format(1234.5)", "'{:%}'.format(0.25)", "'{:.1%}'.format(0.256)",
    "'{:*^9}'.format('mid')", "'{:,}'.format(1234567)", "'{:_}'.format(1234567)", "'{:,}'.format(1234.5)", "'{0[a]} {0.real}'.format({'a': 1}) if false else ''", "'{0[a]}'.format({'a': 1})", "'{0.name}'.format(row) if false else 'x'",
    "'{!r} {!s}'.format('a', 'b')", "'{{}} {}'.format(1)", "'{:{w}}|'.format('a', w=5)", "'{:{}}|'.format('a', 4)", "'{'.format()", "'}'.format()", "'{}'.format()", "'{x}'.format()", "'{:d}'.format('a')", "'{:5}|'.format(42)", "'{:5}|'.format('a')",
    "'{:010,}'.format(1234567)", "'{:<05}'.format(3)", "'{:.3}'.format('abcdef')", "'{:.3}'.format(3.14159)", "'{:g}'.format(100000.0)", "'{:g}'.format(1000000.0)", "'{}'.format(none)", "'{}'.format(1.0)", "'{}'.format([1, 'a'])", "'{:s}'.format('a')", "'{:>5}'.format(true)",
    "'{:d}'.format(true)", "'{:.2f}'.format(2)", "'{:,d}'.format(1000)", "'{:n}'.format(5)", "'{:G}'.format(1e-10)", "'{:f}'.format(1e10)", "'{}-{}'.format('a')", "'{:.0f}'.format(2.5)", "'{:.0f}'.format(3.5)", "'{:-^20}'.format(' x ')",
    "'abc'.isascii()", "'a-b_c'.translate({45: '_'})", "'a-b_c'.translate('a-b_c'.maketrans('', '', '-_'))", "'abc'.translate('x'.maketrans('ab', 'xy', 'c'))", "''.maketrans({'a': 'xx', 98: None})", "'abc'.translate(''.maketrans({'a': 'xx', 98: None}))", "''.maketrans('ab', 'x')", "''.maketrans({'ab': 1})", "''.maketrans('a')", "'x'.format_map({})", "'{a}'.format_map({'a': 1})", "'abc'.encode is defined", "'ab cd'.upper().split()[0].lower()", "'A' 'B'.lower()", "'%s'|format('x')", "'abc'|attr('upper')()",
))

area("lists", [
    "{% set l = [] %}{% do l.append(1) %}{% do l.append('a') %}{{ l }}", "{% set l = [1] %}{% do l.extend([2, 3]) %}{{ l }}", "{% set l = [1] %}{% do l.extend('ab') %}{{ l }}",
    "{% set l = [1, 3] %}{% do l.insert(1, 2) %}{{ l }}", "{% set l = [1] %}{% do l.insert(-1, 0) %}{% do l.insert(99, 9) %}{{ l }}", "{% set l = [1, 2, 1] %}{% do l.remove(1) %}{{ l }}", "{% set l = [1] %}{% do l.remove(5) %}",
    "{% set l = [1, 2, 3] %}{{ l.pop() }} {{ l.pop(0) }} {{ l }}", "{% set l = [] %}{{ l.pop() }}", "{% set l = [1] %}{% do l.clear() %}{{ l }}", "{{ [1, 2, 1].index(1) }} {{ [1, 2, 1].count(1) }}", "{{ [1].index(2) }}",
    "{% set l = [3, 1, 2] %}{% do l.sort() %}{{ l }}", "{% set l = [3, 1, 2] %}{% do l.sort(reverse=true) %}{{ l }}", "{% set l = [1, 2] %}{% do l.reverse() %}{{ l }}", "{% set a = [1] %}{% set b = a %}{% do b.append(2) %}{{ a }}", "{% set a = [1] %}{% set b = a.copy() %}{% do b.append(2) %}{{ a }}{{ b }}",
    "{% set l = [] %}{% do l.append(l) %}{{ l }}", "{% set l = [1, 2, 3] %}{% for x in l %}{% if x == 1 %}{% do l.append(9) %}{% endif %}{{ x }}{% endfor %}", "{{ [1, [2, [3]]] }}", "{{ (1, 2, 1).count(1) }} {{ (1, 2).index(2) }}", "{{ [1, 'a'].sort() }}", "{{ numbers.append(4) }}{{ numbers }}",
    "{% set l = [[2, 'b'], [1, 'a']] %}{% do l.sort() %}{{ l }}", "{% set a = [1] %}{{ a is sameas a }}{{ a is sameas [1] }}", "{{ [1, 2, 3] | sum }}{{ [1] + [2] == [1, 2] }}", "{{ [1,2,3][1:] + [4] }}", "{% set x, y = [1, 2] %}{{ x }}{{ y }}", "{{ [0] * 3 }}",
])

area("dicts", [
    "{% set d = {'a': 1} %}{% do d.update({'b': 2}) %}{{ d }}", "{% set d = {} %}{% do d.update(a=1) %}{{ d }}", "{% set d = {} %}{% do d.update([('a', 1), ['b', 2]]) %}{{ d }}", "{% set d = {'a': 1} %}{{ d.setdefault('a', 2) }}{{ d.setdefault('b', 3) }}{{ d }}", "{% set d = {'a': 1, 'b': 2} %}{{ d.pop('a') }}{{ d }}", "{% set d = {} %}{{ d.pop('a') }}", "{% set d = {} %}{{ d.pop('a', 'x') }}", "{% set d = {'a': 1, 'b': 2} %}{{ d.popitem() }}{{ d }}",
    "{% set d = {'a': 1} %}{% set e = d.copy() %}{% do e.clear() %}{{ d }}{{ e }}", "{{ {'a': 1, 'b': 2}.keys() | list }}", "{{ {'a': 1, 'b': 2}.values() | list }}", "{{ {'a': 1, 'b': 2}.items() | list }}", "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}", "{{ {'a': 1} | length }}{{ {} | length }}", "{{ 'a' in {'a': 1}.keys() }}{{ 1 in {'a': 1}.values() }}", "{{ dict(a=1, b=2) }}", "{{ dict({'a': 1}, b=2) }}", "{{ dict([('a', 1)]) }}",
    "{{ {'a': 1}['b'] is defined }}", "{{ {[1]: 2} }}", "{{ {'a': 1}.get() }}", "{% set d = {'a': []} %}{% do d.a.append(1) %}{% do d['a'].append(2) %}{{ d }}", "{{ {'b': 1, 'a': 2} | dictsort }}", "{{ {'b': 1, 'A': 2} | dictsort(true) }}", "{{ {'b': 1, 'a': 2} | dictsort(false, 'value') }}", "{{ {'b': 1, 'a': 2} | dictsort(reverse=true) }}", "{{ {'a': 1} | items | list }}", "{{ missing | items | list }}", "{{ {'x': 1}.x }}", "{{ {'a': {'b': {'c': 1}}}.a.b.c }}",
    "{{ {1: 2}.get(1.0) }}{{ {true: 3}.get(1) }}", "{% set d = {'k': 1} %}{% do d.update({'k': 2, 'j': 3}) %}{{ d }}", "{{ dict(a=1).items() | list | first | last }}", "{{ {'a': none}.get('a', 'default') }}", "{% set d = {} %}{% if not d %}empty{% endif %}", "{{ dict(**{'a': 1}) }}", "{{ {'a': 1, 'b': 2} | map('upper') | list }}",
])

area("filters", expressions(
    "-5 | abs", "-5|abs", "-1.5 | abs", "'x' | abs", "[1, 2, 3, 4, 5] | batch(2) | list", "[1, 2, 3] | batch(2, 'x') | list", "'hELLO' | capitalize", "'a' | center(5) ~ '|'", "[1, 2] | count", "missing | default('d')", "none | default('d')", "none | default('d', true)", "'' | d('x', boolean=true)",
    "missing | default", "missing.x | default('d')", "'<a href=\"x\">&\\'' | e", "'<b>' | escape", "1500 | filesizeformat", "1 | filesizeformat", "1048576 | filesizeformat(true)", "500 | filesizeformat", "[1, 2] | first", "[] | first", "'abc' | first", "'3.5' | float", "'x' | float", "'x' | float(1.5)", "none | float", "true | float", "'1e3' | float",
    "'inf' | float", "'%s-%s' | format(1, 'b')", "'%(a)s' | format(a=1)", "'a\\nb\\n\\nc' | indent", "'a\\nb' | indent(2, true)", "'a\\n\\nb' | indent(2, blank=true)", "'a\\nb' | indent('> ')", "'a\\nb\\n' | indent(2) ~ '|'", "'42' | int", "'42.9' | int", "'x' | int", "'x' | int(7)", "'0x1f' | int(base=16)", "'101' | int(0, 2)", "' 42 ' | int", "'1_000' | int", "none | int", "true | int", "3.99 | int", "-3.99 | int", "missing | int", "[1] | int(5)",
    "[1, 2, 3] | join(', ')", "['a', none, 1.5] | join('-')", "rows | join(',', attribute='name')", "'abc' | join('.')", "[] | join", "[1, 2, 3] | last", "[] | last", "'abc' | last", "'abc' | length", "none | length", "5 | length", "missing | length", "'abc' | list", "{'a': 1} | list", "5 | list", "none | list", "'ABC' | lower", "none | lower", "missing | lower", "['a', 'b'] | map('upper') | list", "rows | map(attribute='name') | list", "rows | map(attribute='nope') | list", "rows | map(attribute='nope', default='x') | list",
    "['a-b'] | map('replace', '-', '_') | list", "[[1, 2], [3]] | map('length') | list", "[[1, 2], [3, 4]] | map(attribute=0) | list", "[1.2, 3.7] | map('int') | list", "['1', '2'] | map('int') | sum", "[3, 1, 2] | max", "[3, 1, 2] | min", "[] | max", "['b', 'A'] | min", "['b', 'A'] | min(case_sensitive=true)", "rows | max(attribute='id')", "rows | min(attribute='name')", "[1, 2, 3, 4] | reject('odd') | list", "[1, 2, 3, 4] | select('even') | list", "[0, 1, '', 'a', none] | select | list", "[0, 1, '', 'a'] | reject | list",
    "[1, 2, 3] | select('>', 1) | list", "[1, 2, 3] | select('in', [1, 3]) | list", "['a', 'b'] | reject('equalto', 'a') | list", "rows | selectattr('team', 'equalto', 'red') | map(attribute='name') | list", "rows | selectattr('score') | list | length", "rows | rejectattr('score', 'none') | map(attribute='id') | list", "rows | selectattr('id', '>', 2) | map(attribute='id') | join(',')", "rows | selectattr('nope', 'defined') | list", "rows | selectattr('name', 'in', ['Ada', 'Cy']) | map(attribute='name') | list",
    "'aXbX' | replace('X', '-')", "'aXbX' | replace('X', '-', 1)", "5 | replace(5, 'x')", "'abc' | reverse", "[1, 2, 3] | reverse | list", "42.55 | round", "42.55 | round(1)", "42.55 | round(1, 'floor')", "42.1 | round(0, 'ceil')", "42 | round", "2.5 | round", "3.5 | round", "1234 | round(-2)", "-2.5 | round", "0.125 | round(2)", "2.675 | round(2)", "1e20 | round", "'x' | round", "1 | round(2)", "'<b>' | safe", "[1, 2, 3, 4, 5] | slice(2) | list", "[1, 2, 3, 4] | slice(3, 'x') | list",
    "words | sort", "words | sort(case_sensitive=true)", "words | sort(reverse=true)", "rows | sort(attribute='name') | map(attribute='id') | list", "rows | sort(attribute='team,name') | map(attribute='id') | list", "[3, 1, 2] | sort", "[1, 'a'] | sort", "{'b': 1, 'a': 2} | sort", "rows | sort(true, attribute='id') | map(attribute='id') | list", "5 | string ~ 1", "none | string", "[1] | string", "'<b>bold</b>  text <!-- c -->' | striptags", "[1, 2.5] | sum", "rows | sum(attribute='id')", "[] | sum", "[1] | sum(start=10)", "['a'] | sum",
    "'hello wORLD foo-bar (baz)' | title", "'  x ' | trim ~ '|'", "'xxaxx' | trim('x')", "5 | trim", "'foo bar baz qux' | truncate(9)", "'foo bar baz qux' | truncate(9, true)", "'foo bar baz qux' | truncate(11)", "'foo bar baz qux' | truncate(11, false, '...', 0)", "words | unique | list", "words | unique(case_sensitive=true) | list", "rows | unique(attribute='team') | map(attribute='id') | list", "[1, 1.0, true, 2] | unique | list", "[[1], [1]] | unique | list", "'abc' | upper", "5 | upper",
    "'a b/c?d=é' | urlencode", "{'a b': 1, 'c': '&'} | urlencode", "[('x', 1), ('y', 2)] | urlencode", "'one two, three_4' | wordcount", "'the quick brown fox jumps' | wordwrap(10)", "'averyveryverylongword x' | wordwrap(8)", "'averyveryverylongword x' | wordwrap(8, false)", "'a well-known fact here' | wordwrap(7)", "'a b c\\nd e f' | wordwrap(3, true, '|')", "{'b': [1, 'x'], 'a': none} | tojson", "'<a>&\\'' | tojson", "{'a': {'b': [1]}} | tojson(2)", "'é🎉' | tojson", "1.0 | tojson", "none | tojson", "missing | tojson", "{1: 2} | tojson",
    "(1, 2) | tojson", "{'a': 1} | pprint", "{'b': 1, 'a': [1, 2]} | pprint", "'x' | pprint", "rows | groupby('team') | map('first') | list", "rows | groupby('team', case_sensitive=true) | map('first') | list", "(rows | groupby('team'))[1].list | map(attribute='id') | list", "(rows | groupby('team') | first).grouper", "rows | groupby('nope', default='x') | map(attribute='grouper') | list", "[1, 2] | is_list", "'a' | is_list", "'abc' | attr('upper')()", "row | attr('items') is callable", "row | attr('name')", "{'a': 1} | xmlattr", "{'a': none, 'b': '<'} | xmlattr",
    "'x' | nope", "5 | batch(2) | list", "[1, 2] | first | string", "'5' | int + 1", "-1 | abs + 1", "'a' | upper ~ 'b' | upper", "'abc' | replace('b', '') | length", "words | map('lower') | unique | sort | join(',')", "[1, 2, 3] | map('string') | join", "'true' | as_bool", "1 | as_text", "'1' | as_number", "words | map('length') | list", "words | map('first') | list", "[none, 1] | map('default', 0, true) | list", "rows | map('attr', 'get') | list | length", "[[3, 1], [2]] | map('sort') | list", "[[3, 1], [2]] | map('max') | list", "words | select('lower') | list",
    "words | selectattr('0', 'equalto', 'a') | list", "[{'a': {'b': 2}}, {'a': {'b': 1}}] | sort(attribute='a.b') | map(attribute='a.b') | list", "[('b', 1), ('a', 2)] | sort(attribute='1') | list", "'a,b' | trim(',') | upper | list", "(1, 2, 3) | reverse | list", "{'a': 1, 'b': 2} | reverse | list", "5 | reverse | list",
))

area("generators", expressions(
    "[] | map('upper') is iterable", "'x' if [] | select else 'y'", "([1, 2] | map('string')) | length", "([1] | map('string')) is sequence", "[1, 2] | reverse | first", "words | unique | first", "[1, 2] | select | last",
    "zip([1, 2], ['a', 'b']) | list", "zip([1], [2, 3]) | list", "zip(1, 2)", "zip(1, 2, default=[])", "set([1, 1, 2]) | length", "set([[1]])", "set(1, [])", "2 in set([1, 2])", "set([3, 1]) == set([1, 3])", "set([1, 2]) | list | sort", "set_strict([1, 2]) | sum", "(set([1, 2, 3]) - set([2])) | list | sort", "set([1]).union([2]) | sort", "set([1, 2]).intersection([2]) | list", "set([1]).issubset([1, 2])", "set([1, 2]).difference([1]) | list", "set(['a']).isdisjoint(['b'])",
    "range(5) | list", "range(2, 5) | list", "range(5, 0, -2) | list", "range(3) | length", "range(3)[1]", "range(3)[-1]", "2 in range(3)", "range(0) | list", "range(3) == range(0, 3)", "range(1, 2, 0)", "range(1000000000)", "range('a')", "range(3) | sum", "range(10) | select('even') | list", "range(5)[9]",
    "fromjson('{\"a\": [1, 2.5, null, true]}')", "fromjson('nope')", "fromjson('nope', 'd')", "fromjson('[1]')[0]", "tojson({'b': 1, 'a': [none]})", "tojson({'b': 1, 'a': 2}, sort_keys=true)", "tojson(set([1]), 'd')", "tojson('é')", "tojson([1.0, 1e20, 'q\"'])", "local_md5('hello')", "fromjson('1e3')", "fromjson('\"x\"')", "tojson(none)", "tojson({1: true})",
) + [
    "{% set g = [1, 2] | map('string') %}{{ g | list }}{{ g | list }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% do c.reset() %}{{ c.next() }}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b", "{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}", "{% set s = set([1]) %}{% do s.add(2) %}{% do s.discard(1) %}{{ s }}{{ s | length }}", "{{ namespace({'a': 1}, b=2).b }}", "{% set ns = namespace() %}{% set ns.x = [] %}{% do ns.x.append(1) %}{{ ns.x }}",
])

area("tests", expressions(
    "true is boolean", "1 is boolean", "range is callable", "'x' is callable", "row.get is callable", "n is defined", "missing is defined", "row.nope is defined", "6 is divisibleby 3", "6 is divisibleby(4)", "1 is eq 1", "1 is equalto 2", "1 is == 1" if False else "1 is eq(1)", "4 is even", "3 is odd", "0 is even", "-1 is odd", "false is false", "0 is false", "true is true", "1 is true",
    "'upper' is filter", "'nope' is filter", "1.5 is float", "1 is float", "2 is ge 2", "2 is gt 2", "2 is greaterthan 1", "1 is in [1, 2]", "'a' is in 'abc'", "1 is not in [1]" if False else "1 is not in([1])", "1 is integer", "true is integer", "1.0 is integer", "[] is iterable", "'x' is iterable", "5 is iterable", "none is iterable", "missing is iterable", "2 is le 1", "2 is lt 3", "2 is lessthan 2", "'abc' is lower", "'Abc' is lower", "'123' is lower", "row is mapping", "[] is mapping", "1 is ne 2", "none is none", "missing is none",
    "0 is none", "1 is number", "1.5 is number", "true is number", "'1' is number", "row is sameas row", "none is sameas none", "1 is sameas true", "[] is sequence", "'a' is sequence", "row is sequence", "5 is sequence", "range(3) is sequence", "'a' is string", "1 is string", "'defined' is test", "'nope' is test", "missing is undefined", "n is undefined", "'ABC' is upper", "n is not none", "not n is none", "n is defined and n is number", "n is none or n is integer", "'x' if n is none else 'y'", "'a' is nope", "(1, 2) is sequence", "row.keys() is sequence", "row.keys() is iterable",
    "1 is divisibleby 0", "'a' is divisibleby 2", "1 is not defined", "missing is not defined", "n is number and n > 3 and text is string", "[1, 2] is sameas [1, 2]", "row.tags is iterable and row.tags is not string and row.tags is not mapping", "'a' is escaped", "2.0 is even", "1.5 is odd", "n is eq 5 and true", "n is lt 9 == true",
))

area("statements", [
    "{% if n > 3 %}big{% elif n > 1 %}mid{% else %}small{% endif %}", "{% if missing %}a{% else %}b{% endif %}", "{% if n: %}x{% endif %}", "{% for x in numbers %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for x in [] %}x{% else %}none{% endfor %}", "{% for x in missing %}x{% else %}none{% endfor %}", "{% for x in numbers if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}", "{% for x in numbers if x > 9 %}x{% else %}e{% endfor %}", "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }};{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}x{% endfor %}", "{% for a, b in [(1,)] %}x{% endfor %}", "{% for a, b in [5] %}x{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for c in 'abc' %}{{ c }}.{% endfor %}", "{% for x in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }} {% endfor %}", "{% for x in numbers %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in 'abcd' %}{{ loop.cycle('odd', 'even') }} {% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in numbers %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in numbers %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in [1, 2] %}{% for y in [1, 2] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}", "{% for x in [{'v': 1, 'c': [{'v': 2, 'c': []}]}] recursive %}[{{ x.v }}{{ loop.depth }}{{ loop(x.c) }}]{% endfor %}", "{% for x in [1] %}{{ loop([2]) }}{% endfor %}", "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(t=0) %}{% for i in numbers %}{% set ns.t = ns.t + i %}{% endfor %}{{ ns.t }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% if false %}{% set q = 1 %}{% endif %}{{ q }}|{{ q is defined }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set (a, b) = (1, 2) %}{{ b }}{{ a }}", "{% set a = b = 1 %}", "{% set t = 1, 2 %}{{ t }}", "{% set t = 1, %}{{ t }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x | upper }}", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}aa{% endset %}{{ x }}", "{% set x %}{% set y = 5 %}{{ y }}{% endset %}{{ x }}{{ y }}", "{% filter upper %}a{{ text }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}", "{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% do numbers.append(9) %}{{ numbers }}", "{% do 1 if true else 2 %}x", "{% do none %}y", "{% print(1, 2) %}" if False else "{% print 1, 'b' %}", "{% raw %}{{ x }}{% y %}{# z #}{% endraw %}", "{%- raw -%} a {%- endraw -%} b", "a{# comment {{ x }} #}b", "{# a #}{# b #}c", "{% block x %}in{% endblock %}", "{% block x %}in{% endblock x %}", "{% for x in range(3) %}{{ x }}{% else %}no{% endfor %}",
    "{% for k, v in row.items() %}{{ k }}:{{ v }} {% endfor %}", "{% for i in [1, 2, 3] %}{{ ', ' if not loop.first }}{{ i }}{% endfor %}", "{% for x in [3, 1] | sort %}{{ x }}{% endfor %}", "{% for x in numbers | map('string') %}{{ x }}{{ loop.last }}{% endfor %}", "{% if n is number and (text or none) %}ok{% endif %}", "{% for x in (1, 2) %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for loop_x in [1] %}{{ loop_x }}{% endfor %}", "{% set loop = 5 %}{{ loop }}", "{% for x in [1, 2] %}{% set y = x %}{% endfor %}{{ y }}", "{% for x in [1,2] %}{{ y is defined }}{% set y = x %}{% endfor %}", "{% set x = 1 %}{% set x = x + 1 %}{{ x }}", "{% set row.x = 1 %}", "{% set ns = 5 %}{% set ns.x = 1 %}",
    "{% for row in rows %}{{ row.id }}{% endfor %}{{ row.id }}", "{% if 1 %}{% if 0 %}a{% else %}b{% endif %}{% endif %}", "{{ loop }}", "{% for x in [1] %}{% endfor %}{{ x }}", "{% for x in rows | groupby('team') %}{{ x.grouper }}={{ x.list | length }};{% endfor %}", "{% for team, members in rows | groupby('team') %}{{ team }}{{ members | map(attribute='id') | list }}{% endfor %}", "{% autoescape false %}{{ '<' }}{% endautoescape %}", "{% set q = '' %}{% for x in [1] %}{% set q = 'z' %}{% endfor %}[{{ q }}]", "{% for x in [[1, 2], [3]] %}{% for y in x %}{{ loop.index }}{{ loop.length }}{% endfor %}{{ loop.index }};{% endfor %}",
])

area("whitespace", [
    "a {{ 1 }} b", "a {{- 1 -}} b", "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n{%- if true -%}\nb\n{%- endif -%}\nc\n", "  {%+ if true %}x{% endif %}", "{% if true +%}x{% endif %}", "a  {#- c -#}  b", "a {# c #} b", "x\n", "x\n\n", "\n", "\r\nx\r\n", "a\r\nb\rc", "{{ 'a' }}\n", "  {{ 1 }}  ", "{%- set x = 1 -%}  y", "a\n\n  {{- 1 }}", "{{ 1 -}}\n\n  b", "{{-1}}", "{{+1}}", "{{ -1 }}", "{{1-1}}", "{{ 1 - 1 }}", "{%if true%}x{%endif%}", "{{'{{'}}", "{{ '}}' }}", "{{ {'a': {'b': 1}}}}", "{{ {'a': {}} }}", "{ {", "{", "a { b } c", "{% raw -%}  a  {%- endraw %}", "}}", "%}", "#}", "{{ 'a\nb' }}", "{{ 'a\r\nb' }}",
    "{{\n1\n}}", "{%\nif true\n%}x{%\nendif\n%}", "\t{{- 1 -}}\t", "a{{ ' ' }}b", "select\n    {%- for c in ['a', 'b'] %}\n    {{ c }}{% if not loop.last %},{% endif %}\n    {%- endfor %}\nfrom t\n", "{# multi\nline #}\nx", "{% set x = 1 %}\n{{ x }}\n", "a{{ 1 }}\n\n", "{{ 1 }} {{ 2 }}", "{{1}}{{2}}", "é{{ 'ü' }}ß", "{% raw %}{% endraw %}", "{% raw %}\n{{ a }}\n{% endraw %}\n", "  {%- raw %} x {% endraw -%}  y",
])

M = """{% macro add(a, b=2) %}{{ a + b }}{% endmacro %}
{% macro value(x) %}{{ return(x) }}{% endmacro %}
{% macro listed() %}{% do return([1, 2]) %}{% endmacro %}
{% macro early(x) %}a{% if x %}{{ return('early') }}{% endif %}b{% endmacro %}
{% macro var_args(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}
{% macro wrap(tag='b') %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}
{% macro each(items) %}{% for i in items %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}
{% macro fact(n) %}{{ return(1 if n < 2 else n * fact(n - 1)) }}{% endmacro %}
{% macro twice(a, b=a) %}{{ a }}{{ b }}{% endmacro %}
{% macro nothing() %}{% endmacro %}
{% macro no_return() %}{% set x = 1 %}{% endmacro %}
{% macro maybe_caller() %}{{ caller() if caller else 'none' }}{% endmacro %}
{% macro returns_none() %}{{ return(none) }}{% endmacro %}
{% macro loops() %}{% for i in [1, 2, 3] %}{% if i == 2 %}{{ return(i) }}{% endif %}{% endfor %}{% endmacro %}
"""
M = M.replace("fact(n - 1)", "fact_ref(n - 1)") if False else M

area("macros", [
    ("{{ add(1) }}{{ add(1, 5) }}{{ add(b=1, a=2) }}", M), ("{{ value([1, 2])[0] + 1 }}", M), ("{{ listed() | length }}", M), ("{{ early(true) }}{{ early(false) }}", M), ("{{ var_args(1, 2, 3, x=4) }}", M), ("{{ var_args() }}", M), ("{% call wrap() %}in{% endcall %}", M), ("{% call wrap('i') %}{{ n }}{% endcall %}", M), ("{% call(i, k) each(['x', 'y']) %}{{ k }}{{ i }};{% endcall %}", M), ("{{ add(1, 2, 3) }}", M), ("{{ add(1, c=3) }}", M), ("{{ add() }}", M), ("{{ twice(1) }}{{ twice(1, 2) }}", M), ("[{{ nothing() }}]", M), ("[{{ no_return() }}]", M), ("{{ maybe_caller() }}{% call maybe_caller() %}c{% endcall %}", M), ("{{ returns_none() is none }}", M), ("{{ loops() + 1 }}", M), ("{% if value(false) %}a{% else %}b{% endif %}", M), ("{{ value({'a': 1}).a }}", M), ("{% set r = value((1, 2)) %}{{ r }}", M),
    "{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(1) }}{{ m('a') }}{{ m() }}", "{% macro m(x, y='d', z=none) %}{{ x }}{{ y }}{{ z }}{% endmacro %}{{ m(1, z=3) }}", "{% macro m() %}{{ n }}{% endmacro %}{{ m() }}", "{% set q = 1 %}{% macro m() %}{{ q }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ q }}{% endmacro %}{% set q = 2 %}{{ m() }}", "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m(a, a2) %}{{ a2 is defined }}{% endmacro %}{{ m(1) }}", "{% macro m(a) %}{{ a is defined }}{{ a }}{{ a.b }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{{ m }}",
    "{% macro m(a, b) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_varargs }}{{ m.catch_kwargs }}{{ m.caller }}", "{% macro m(a, b=1, c) %}{% endmacro %}", "{% macro m() %}{{ varargs | length }}{% endmacro %}{{ m(1, 2) }}", "{% macro m() %}{{ kwargs.a }}{% endmacro %}{{ m(a=1) }}", "{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}<{{ x }}>{% endcall %}", "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'x': 2}) }}", "{% macro m(x, y) %}{{ x }}{{ y }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(1, *[2]) }}{{ m(1, **{'y': 2}) }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1, x=2) }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ [1, 2] | map('string') | list }}{{ m | string is string }}", "{% macro outer() %}{% macro inner(x) %}i{{ x }}{% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}", "{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m() -%}  x  {%- endmacro %}[{{ m() }}]", "{% macro m(l=[]) %}{% do l.append(1) %}{{ l }}{% endmacro %}{{ m() }}{{ m() }}", "{% set x = 'outer' %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m('inner') }}{{ x }}", "{% macro m() %}{% set x = 'in' %}{{ x }}{% endmacro %}{% set x = 'out' %}{{ m() }}{{ x }}", "{% macro m() %}{{ text | upper }}{% endmacro %}{{ m() | lower }}",
    "{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(1) }}", "{% macro m(x=n) %}{{ x }}{% endmacro %}{{ m() }}", "{% macro m(x) %}{{ loop }}{% endmacro %}{% for i in [1] %}{{ m(1) }}{% endfor %}", "{% call(x='d') row.get('q') %}{% endcall %}", "{{ undefined_macro() }}", "{{ none() }}", "{{ 'a'() }}", "{{ 5(1) }}", "{{ row() }}", "{% macro m(a, b) %}{{ a }}|{{ b }}{% endmacro %}{{ m(b='B', a='A') }}", "{% macro m() %}{{ self }}{% endmacro %}x", "{% macro q(x) %}{{ return(x) }}{% endmacro %}{% macro p() %}{{ caller() }}{% endmacro %}{% call p() %}{{ n }}{% endcall %}",
])

area("datetime", expressions(
    "day", "[day]", "moment", "[moment]", "run_started_at", "run_started_at.strftime('%Y-%m-%d %H:%M:%S')", "run_started_at.isoformat()", "run_started_at.tzinfo", "day.year ~ day.month ~ day.day", "moment.hour ~ ':' ~ moment.minute ~ ':' ~ moment.second ~ '.' ~ moment.microsecond", "moment.date()", "moment.time()", "day.weekday() ~ day.isoweekday()", "day.isoformat()", "moment.isoformat(' ')", "moment.isoformat(timespec='minutes')", "moment.isoformat('T', 'milliseconds')", "day.strftime('%A %a %B %b %d %e %j %U %W %V %G %u %w %y %Y %m')", "moment.strftime('%H %I %M %S %f %p %c %x %X %D %F %T %R')", "moment.strftime('%-d/%-m/%y %%')", "moment.strftime('%Z|%z')", "run_started_at.strftime('%Z %z')",
    "modules.datetime.date(2024, 1, 31)", "modules.datetime.datetime(2024, 1, 31)", "modules.datetime.datetime(2024, 1, 31, 5, 6)", "modules.datetime.datetime(2024, 1, 31, hour=5, tzinfo=modules.pytz.utc)", "modules.datetime.date(2023, 2, 29)", "modules.datetime.date(2023, 13, 1)", "modules.datetime.date(0, 1, 1)", "modules.datetime.datetime(2024, 1, 1, 25)", "modules.datetime.timedelta(days=1)", "modules.datetime.timedelta(1, 2, 3)", "modules.datetime.timedelta(hours=36, minutes=1)", "[modules.datetime.timedelta(days=-1, seconds=5)]", "modules.datetime.timedelta(days=-1, seconds=5)", "modules.datetime.timedelta(days=2).days", "modules.datetime.timedelta(weeks=1).total_seconds()", "modules.datetime.timedelta(days=1.5)",
    "day + modules.datetime.timedelta(days=1)", "day - modules.datetime.timedelta(days=60)", "modules.datetime.timedelta(days=1) + day", "day - modules.datetime.date(2024, 1, 1)", "(day - modules.datetime.date(2024, 1, 1)).days", "moment - modules.datetime.timedelta(hours=14)", "moment - modules.datetime.datetime(2024, 1, 1)", "moment - run_started_at", "modules.datetime.timedelta(days=1) * 2", "modules.datetime.timedelta(days=1) / 2", "modules.datetime.timedelta(days=1) / modules.datetime.timedelta(hours=1)", "modules.datetime.timedelta(days=1) // modules.datetime.timedelta(hours=5)", "-modules.datetime.timedelta(hours=1)", "modules.datetime.timedelta(0) | string", "1 if modules.datetime.timedelta(0) else 2",
    "day < modules.datetime.date(2025, 1, 1)", "day == modules.datetime.date(2024, 2, 29)", "day < moment", "moment < run_started_at", "day == moment", "[modules.datetime.date(2024, 2, 1), modules.datetime.date(2024, 1, 1)] | sort", "[day, modules.datetime.date(2025, 1, 1)] | max", "day.replace(day=1)", "day.replace(2023)", "moment.replace(hour=0, minute=0, second=0, microsecond=0)", "moment.replace(tzinfo=modules.pytz.utc)", "modules.datetime.datetime.strptime('2024-01-31', '%Y-%m-%d')", "modules.datetime.datetime.strptime('31 Jan 24 05:06 PM', '%d %b %y %I:%M %p')", "modules.datetime.datetime.strptime('2024-01-31T05:06:07.25+0130', '%Y-%m-%dT%H:%M:%S.%f%z')", "modules.datetime.datetime.strptime('x', '%Y')", "modules.datetime.datetime.strptime('2024x', '%Y')", "modules.datetime.datetime.strptime('2024-02-30', '%Y-%m-%d')", "modules.datetime.datetime.strptime('2024-060', '%Y-%j')",
    "modules.datetime.datetime.fromisoformat('2024-01-31 05:06:07')", "modules.datetime.datetime.fromisoformat('2024-01-31T05:06:07.123+02:00')", "modules.datetime.datetime.fromisoformat('2024-01-31')", "modules.datetime.date.fromisoformat('2024-01-31')", "modules.datetime.date.fromisoformat('nope')", "modules.datetime.datetime.combine(day, modules.datetime.time(1, 2))", "modules.datetime.datetime.combine(day, modules.datetime.datetime.min.time())", "modules.datetime.time(1, 2, 3)", "[modules.datetime.time(1, 2)]", "modules.datetime.time(1, 2).strftime('%H%M')", "modules.datetime.time(1) < modules.datetime.time(2)", "modules.datetime.datetime.fromtimestamp(0, modules.pytz.utc)", "modules.datetime.datetime.utcfromtimestamp(86400.5)", "run_started_at.timestamp()",
    "day.toordinal()", "modules.datetime.date.fromordinal(738000)", "day.isocalendar()[1]", "day.ctime()", "moment.ctime()", "modules.datetime.date.min", "modules.datetime.datetime.max", "modules.datetime.date.max + modules.datetime.timedelta(days=1)", "modules.pytz.timezone('Europe/Paris')", "modules.pytz.timezone('Nope/Nope')", "modules.pytz.utc", "[modules.pytz.utc]", "run_started_at.astimezone(modules.pytz.timezone('America/New_York'))", "[run_started_at.astimezone(modules.pytz.timezone('America/New_York'))]", "run_started_at.astimezone(modules.pytz.timezone('Europe/Paris')).strftime('%H:%M %Z %z')", "modules.pytz.timezone('Europe/Paris').localize(moment)", "modules.pytz.timezone('US/Eastern').localize(modules.datetime.datetime(2024, 7, 1))",
    "modules.pytz.timezone('US/Eastern').localize(modules.datetime.datetime(2024, 11, 3, 1, 30))", "modules.pytz.timezone('US/Eastern').localize(modules.datetime.datetime(2024, 11, 3, 1, 30), is_dst=true)", "modules.pytz.timezone('US/Eastern').localize(modules.datetime.datetime(2024, 3, 10, 2, 30))", "modules.pytz.timezone('US/Eastern').normalize(modules.pytz.timezone('US/Eastern').localize(modules.datetime.datetime(2024, 3, 10, 1, 30)) + modules.datetime.timedelta(hours=1))", "modules.pytz.utc.localize(moment)", "modules.pytz.utc.localize(run_started_at)", "modules.datetime.datetime(2024, 1, 1, tzinfo=modules.pytz.timezone('Europe/Paris'))", "modules.pytz.timezone('Europe/Paris').zone", "run_started_at.utcoffset()", "run_started_at.tzname()", "moment.tzname()", "modules.pytz.FixedOffset(90)",
    "modules.datetime.timezone.utc", "modules.datetime.timezone(modules.datetime.timedelta(hours=-5))", "run_started_at.astimezone(modules.datetime.timezone(modules.datetime.timedelta(hours=-5)))", "'{:%Y%m%d}'.format(day)", "'{:%H}'.format(moment)", "'{}'.format(moment)", "{day: 1}[modules.datetime.date(2024, 2, 29)]", "day ~ ''", "day | string | length", "modules.datetime.clock.now()" if False else "day is defined", "day.nope", "moment.strftime()", "day + 1", "day + day", "modules.datetime.timedelta(days='x')", "modules.datetime.date('2024')", "moment.strftime('%s') is string", "(run_started_at - modules.datetime.timedelta(days=3)).strftime('%Y-%m-%d')", "run_started_at.date()", "run_started_at.astimezone(modules.pytz.timezone('Asia/Kolkata')).isoformat()",
    "(modules.datetime.datetime(2024, 3, 1) - modules.datetime.timedelta(days=1)).date().isoformat()", "modules.datetime.datetime.strptime('20240131', '%Y%m%d').date()", "moment.weekday()", "moment.timetz()", "moment.replace(microsecond=0).isoformat()", "moment == moment.replace(tzinfo=none)", "modules.datetime.datetime(2024, 1, 1, 0, 0, 0, 5)", "[modules.datetime.datetime(2024, 1, 1, 0, 0, 0, 5)]", "[run_started_at]", "modules.datetime.timedelta(microseconds=1)", "modules.datetime.timedelta(milliseconds=1500)", "abs is defined", "modules.datetime.timedelta(days=-1) | abs",
))

area("modules_re", expressions(
    "modules.re.match('a+', 'aab')", "modules.re.match('b', 'aab')", "modules.re.match('(a+)(b)', 'aab').group(1)", "modules.re.match('(a+)(b)', 'aab').groups()", "modules.re.match('(?P<x>a+)', 'aab').groupdict()", "modules.re.match('(?P<x>a+)', 'aab').group('x')", "modules.re.match('(?P<x>a+)', 'aab')['x']", "modules.re.search('b', 'aab').start()", "modules.re.search('b', 'aab').span()", "modules.re.search('é', 'aéb').span()", "modules.re.fullmatch('a+', 'aab') is none", "modules.re.fullmatch('a|ab', 'ab').group()", "modules.re.findall('[a-z]+', 'ab 12 cd')", "modules.re.findall('([a-z])([0-9])', 'a1 b2')", "modules.re.findall('([a-z])[0-9]', 'a1 b2')",
    "modules.re.sub('[^a-z]+', '_', 'a b--c')", "modules.re.sub('(a)(b)', '\\\\2\\\\1', 'abab')", "modules.re.sub('(?P<q>a)', '<\\\\g<q>>', 'aba')", "modules.re.sub('a', 'b', 'aaa', 2)", "modules.re.sub('x*', '-', 'abxd')", "modules.re.sub('\\\\s+', ' ', 'a  b\\tc')", "modules.re.subn('a', 'b', 'aa')", "modules.re.split('[,;] *', 'a, b;c')", "modules.re.split('(,)', 'a,b')", "modules.re.split(',', 'a,b,c', 1)", "modules.re.compile('a(b)?').match('a').group(1)", "modules.re.compile('a', modules.re.IGNORECASE).sub('x', 'aA')", "modules.re.match('A', 'a', modules.re.I).group()", "modules.re.findall('^a', 'a\\na', modules.re.M)", "modules.re.match('a.b', 'a\\nb', modules.re.S) is not none", "modules.re.match('a.b', 'a\\nb') is none", "modules.re.escape('a.b*c d-e_f')",
    "modules.re.match('(', 'a')", "modules.re.match('[', 'a')", "modules.re.sub('(?i)ABC', 'x', 'abc')", "modules.re.match('\\\\d{4}-\\\\d{2}', '2024-01').group(0)", "modules.re.match('[\\\\w.]+@[\\\\w.]+', 'a.b@c.d').group()", "modules.re.search('\\\\bfoo\\\\b', 'a foo b').start()", "modules.re.findall('a{2}', 'aaaa')", "modules.re.findall('{x}', '{x}')", "modules.re.match('a\\\\Z', 'a') is not none", "modules.re.search('[[]', 'a[b').start()", "modules.re.search('[]]', 'a]b').start()", "modules.re.compile('(?P<y>a)').groupindex['y']", "modules.re.compile('a').pattern", "modules.re.match('(a)|(b)', 'b').groups()", "modules.re.match('(a)|(b)', 'b').groups('x')", "modules.re.match('(a)|(b)', 'b').lastindex", "modules.re.match('(a)', 'a').group(5)", "modules.re.match('a', 'b').group()",
    "modules.re.finditer('a', 'aa') | map('attr', 'start') | list | length", "modules.re.sub('a', '\\\\n', 'a')", "modules.re.sub('^|$', '\"', 'x')", "modules.re.findall('', 'ab')", "modules.re.findall('a*', 'baac')", "modules.re.match('a/b', 'a/b') is not none", "modules.re.match('<a>', '<a>') is not none", "modules.re.match('\\\\<a\\\\>', '<a>') is not none", "modules.re.match('a b # c', 'ab', modules.re.X) is not none", "modules.re.match('[a&&b]', '&') is not none", "modules.re.search('(\\\\d+)', 'order 66').group(1) | int + 1", "modules.re.match('.*_(\\\\d{8})$', 'x_20240101').group(1)", "modules.re.sub('([A-Z])', '_\\\\1', 'camelCase') | lower", "modules.re.match('a', none)", "modules.re.sub('a', 'b', 5)", "modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', 'a_1') is not none",
))

area("modules_itertools", expressions(
    "modules.itertools.chain([1], [2, 3]) | list", "modules.itertools.chain.from_iterable([[1], [2]]) | list", "modules.itertools.product([1, 2], 'ab') | list", "modules.itertools.product([0, 1], repeat=2) | list", "modules.itertools.combinations('abc', 2) | list", "modules.itertools.permutations([1, 2, 3], 2) | list", "modules.itertools.permutations([1, 2]) | list", "modules.itertools.combinations_with_replacement('ab', 2) | list", "modules.itertools.zip_longest([1, 2], [3]) | list", "modules.itertools.zip_longest([1, 2], [3], fillvalue=0) | list", "modules.itertools.islice([1, 2, 3, 4], 2) | list", "modules.itertools.islice([1, 2, 3, 4], 1, none, 2) | list", "modules.itertools.islice(modules.itertools.count(5, 2), 3) | list", "modules.itertools.islice(modules.itertools.cycle('ab'), 5) | list", "modules.itertools.accumulate([1, 2, 3]) | list", "modules.itertools.repeat('x', 3) | list", "modules.itertools.compress('abc', [1, 0, 1]) | list", "modules.itertools.pairwise([1, 2, 3]) | list", "modules.itertools.combinations('a', 2) | list", "modules.itertools.combinations([1,2,3], 0) | list", "modules.itertools.starmap(range, [(1, 3)]) | map('list') | list",
) + [
    "{% for k, g in modules.itertools.groupby([1, 1, 2]) %}{{ k }}{{ g | list }}{% endfor %}", "{% for a, b in modules.itertools.product([1, 2], [3, 4]) %}{{ a }}{{ b }} {% endfor %}",
])

area("errors", [
    "{{ ", "{% if %}", "{% if true %}", "{% endif %}", "{% for x in %}{% endfor %}", "{% for in x %}{% endfor %}", "{{ 1 + }}", "{{ (1 }}", "{{ [1, }}", "{{ {'a' 1} }}", "{{ 'abc }}", "{% unknown %}", "{% set %}", "{% set x %}", "{% macro m %}{% endmacro %}", "{% macro m( %}{% endmacro %}", "{{ a b }}", "{{ a.b. }}", "{{ 1..2 }}", "{{ | upper }}", "{{ x | }}", "{{ x is }}", "{# open", "{% raw %}", "{% call x %}{% endcall %}", "{% call x() %}", "{{ f(a=1, 2) }}", "{{ f(**a, b) }}", "{{ f(a=1, a=2) }}", "{{ $ }}", "{{ a ! b }}", "{{ a ? b : c }}", "{% else %}", "{% elif x %}", "{{ x[ }}", "{{ x[] }}", "{{ }}", "{{}}", "{% %}", "{% break %}", "{% continue %}", "{% set true = 1 %}", "{% set none = 1 %}", "{% set 5 = 1 %}", "{% for true in [1] %}{% endfor %}", "{% macro true() %}{% endmacro %}", "{{ 'a' is defined is string }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% if x %}{% for y in z %}{% endif %}{% endfor %}",
    "{{ ) }}", "{{ (1] }}", "{% block %}{% endblock %}", "{% filter %}{% endfilter %}", "{% with a %}{% endwith %}", "{{ not }}", "{{ 1 if }}", "{{ a.1b }}", "{{ 0777 }}", "{{ 1 2 }}", "{{ lambda x: x }}", "{{ [x for x in y] }}", "{{ a := 1 }}", "{{ a && b }}", "{{ a || b }}", "{{ !a }}", "{{ a == = b }}", "{{ 'x' | unknown_filter }}", "{{ 'x' is unknown_test }}", "{% if false %}{{ 'x' | unknown_filter }}{% endif %}ok", "{{ 'x' | unknown_filter if false else 'ok' }}",
])

area("native_values", [
    "{{ n }}", "{{ n + 1 }}", "{{ row }}", "{{ numbers }}", "{{ nothing }}", "{{ n == 5 }}", "{{ n / 2 }}", "{{ text }}", "{{ n ~ '' }}", "{{ n }} ", " {{ n }}", "{{ n }}{{ n }}", "{{ row.name }}", "{{ n | string }}", "{{ (n ~ '') | as_number }}", "{{ (n ~ '') | as_native }}", "{{ 'True' | as_bool if n else '' }}", "{{ text | as_bool }}", "{{ text | as_number }}", "{{ text | as_native }}", "{{ text | as_text }}", "{{ n | as_text }}", "{{ n | as_number }}", "{{ n | as_bool }}", "{{ (n == 5) | as_bool }}", "{{ (n == 5) | string | as_bool }}", "{{ numbers | string | as_native }}", "{{ row | string | as_native }}", "plain", "", "123", "true", "{% if n %}{{ n }}{% endif %}", "{% for x in numbers %}{{ x }}{% endfor %}", "{% set x = n %}{{ x }}",
    "{{ (n ~ '.5') | as_number }}", "{{ ('-' ~ n) | as_number }}", "{{ ('[1, ' ~ n ~ ']') | as_native }}", "{{ ('{\"a\": ' ~ n ~ '}') | as_native }}", "{{ ('(' ~ n ~ ',)') | as_native }}", "{{ ('0x' ~ n) | as_native }}", "{{ ('true' ~ '' * n) | as_native }}", "{{ ('None' ~ '' * n) | as_native }}", "{{ ('none' ~ '' * n) | as_native }}", "{{ (' ' ~ n) | as_native }}", "{{ (n ~ ' ') | as_native }}", "{{ ('1 + ' ~ n) | as_native }}", "{{ ('\"' ~ n ~ '\"') | as_native }}", "{{ (n ~ '_0') | as_native }}", "{{ ('1e' ~ n) | as_native }}", "{{ ('nan' ~ '' * n) | as_native }}", "{{ ('0' ~ n) | as_native }}", "{{ row.nope }}", "{{ rows | map(attribute='id') | list }}", "{{ row.tags }}", "{{ n > 3 and text }}",
    "{{ row.get('nope') }}", "{{ words | length }}", "{{ day }}", "a{{ n }}b", "{{ n if n > 3 else text }}", "{{ row | as_native }}", "{{ nothing | as_native }}", "{{ nothing | as_bool }}", "{# c #}{{ n }}", "{{ n }}{# c #}", "{% if not n %}x{% endif %}",
])


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, cases in CASES.items():
        native = name.startswith("native_")
        out = []
        for case in cases:
            template, macros = case if isinstance(case, tuple) else (case, None)
            entry = {"template": template}
            if macros:
                entry["macros"] = macros
            try:
                value = render(template, native, macros)
                if native:
                    entry["type"] = type(value).__name__
                    entry["repr"] = repr(value)
                else:
                    entry["text"] = value
            except MacroReturn:
                entry["error"] = "return() outside of a macro"
            except Exception as error:  # noqa: BLE001 (whatever Python says is the expectation)
                entry["error"] = f"{type(error).__name__}: {error}"
            if re.search(r" at 0x[0-9a-f]+", json.dumps(entry)):
                continue  # An address in memory is no result to compare.
            out.append(entry)
        (OUT / f"{name}.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
        total += len(out)
    print(f"{total} cases in {len(CASES)} areas, Jinja2 {jinja2.__version__}")


if __name__ == "__main__":
    main()
