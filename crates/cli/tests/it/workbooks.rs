//! Models that go out as workbooks, read again by our own loads and by openpyxl.

use std::path::Path;
use std::process::Command;

use crate::sandbox::Sandbox;

/// What a model has of every type, and the sheet of it.
const MODEL: &str = "{{ config(materialized='table') }}
select * from (values
  (1, true, cast(12345678901234 as bigint), cast(0.1 as double), cast(1234.50 as decimal(12,2)), date '2024-02-29',
   timestamp '2024-02-29 13:14:15.123', time '09:30:00', '=1+1', 'a'),
  (2, false, cast(-5 as bigint), cast(1e300 as double), cast(-0.01 as decimal(12,2)), date '1900-03-01',
   timestamp '1999-12-31 23:59:59', time '23:59:59', '  <&' || chr(34) || chr(1) || '> _x0041_ ', 'b'),
  (3, null, null, null, null, null, null, null, null, null)
) as t(id, ok, large, real, money, day, at, clock, text, kind) order by id";

fn project(to: &str) -> Sandbox {
    Sandbox::new(&[
        ("models/every.sql", MODEL),
        ("exports.yml", &format!("exports:\n  - {{name: every, from: ref('every'), to: {to}}}\n")),
    ])
}

/// The cells of a workbook's first sheet, row by row, by openpyxl; `None` where there is none.
fn cells(path: &Path) -> Option<String> {
    let Some(python) = std::env::var_os("TIDEMILL_PYTHON") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set TIDEMILL_PYTHON");
        return None;
    };
    let script = "
import sys, openpyxl
book = openpyxl.load_workbook(sys.argv[1])
sheet = book.worksheets[0]
print(len(book.sheetnames), sheet.title, sheet.freeze_panes, sheet.max_row)
for row in sheet.iter_rows(max_row=5):
    print('|'.join(f'{type(c.value).__name__}:{c.data_type}:{c.value!r}' for c in row))
";
    let output = Command::new(python).args(["-c", script]).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

#[test]
fn cells_have_the_types_of_columns() {
    let shop = project("{path: out/every.xlsx, sheet: Every one}");
    shop.build().ok().says("3 rows");
    if let Some(text) = cells(&shop.path("out/every.xlsx")) {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "1 Every one A2 4");
        assert_eq!(lines[1].split('|').next(), Some("str:s:'id'"));
        assert_eq!(
            lines[2],
            "int:n:1|bool:b:True|int:n:12345678901234|float:n:0.1|float:n:1234.5|\
             datetime:d:datetime.datetime(2024, 2, 29, 0, 0)|\
             datetime:d:datetime.datetime(2024, 2, 29, 13, 14, 15, 123000)|\
             str:s:'09:30:00'|str:s:'=1+1'|str:s:'a'"
        );
        assert!(
            lines[3].starts_with("int:n:2|bool:b:False|int:n:-5|float:n:1e+300|float:n:-0.01|")
        );
        assert!(lines[3].contains("datetime.datetime(1900, 3, 1, 0, 0)"), "{}", lines[3]);
        assert!(lines[3].contains("str:s:'23:59:59'"), "{}", lines[3]);
        assert!(lines[4].starts_with("int:n:3|NoneType:n:None|"), "{}", lines[4]);
    }
    shop.write(
        "models/s.yml",
        "sources:\n  - name: back\n    tables:\n      - {name: t, ingest: {location: out/every.xlsx, mode: full}}\n",
    );
    shop.run(&["ingest"]).ok();
    assert_eq!(
        shop.rows(
            "select id, ok, large, real, money, day, at, clock, kind from back.t order by id"
        ),
        [
            "1,true,12345678901234,0.1,1234.5,2024-02-29,2024-02-29 13:14:15.123,09:30:00,a",
            "2,false,-5,1e300,-0.01,1900-03-01,1999-12-31 23:59:59,23:59:59,b",
            "3,,,,,,,,"
        ]
    );
    // Texts are what they were, and none is a formula.
    assert_eq!(
        shop.rows("select text = '=1+1' or text = '  <&' || chr(34) || chr(1) || '> _x0041_ ' from back.t where id < 3"),
        ["true", "true"]
    );
    shop.build().ok().says("nothing to do");
}

#[test]
fn what_no_cell_holds_is_refused_written_as_text_or_rounded() {
    let select = |value: &str| {
        format!("{{{{ config(materialized='table') }}}} select 7 as id, {value} as v")
    };
    for (value, text, rounded) in [
        ("cast(9007199254740993 as bigint)", "str:s:'9007199254740993'", "int:n:9007199254740993"),
        ("cast(12345678901234567.89 as decimal(20,2))", "str:s:'12345678901234567.89'", "float:n:"),
        (
            "timestamp '2024-01-01 00:00:00.123456'",
            "str:s:'2024-01-01 00:00:00.123456'",
            "datetime:d:",
        ),
        ("date '1899-12-31'", "str:s:'1899-12-31'", "str:s:'1899-12-31'"),
        ("cast('NaN' as double)", "str:s:'NaN'", "str:s:'NaN'"),
    ] {
        let shop = project("{path: every.xlsx}");
        shop.write("models/every.sql", select(value));
        shop.build()
            .fails_with(1)
            .says("a cell of a workbook cannot hold a value as it is")
            .says("column: v")
            .says("inexact: text");
        assert!(!shop.path("every.xlsx").exists());
        for (inexact, expected) in [("text", text), ("round", rounded)] {
            let exports = format!(
                "exports:\n  - {{name: every, from: ref('every'), to: {{path: every.xlsx, inexact: {inexact}}}}}\n"
            );
            shop.write("exports.yml", exports);
            shop.run(&["export"]).ok();
            if let Some(text) = cells(&shop.path("every.xlsx")) {
                assert!(text.contains(expected), "{value} {inexact}: {text}");
            }
        }
    }
    let shop = project("{path: every.xlsx, inexact: round}");
    shop.write("models/every.sql", select("repeat('x', 32768)"));
    shop.build().fails_with(1).says("longer than a cell").says("row of the sheet: 2");
}

#[test]
fn more_rows_than_a_sheet_has() {
    let shop = project("{path: many.xlsx}");
    let many = |rows: u32| {
        format!(
            "{{{{ config(materialized='table') }}}} select i % 2 = 0 as even from generate_series(1, {rows}) as g(i)"
        )
    };
    shop.write("models/every.sql", many(1_048_576));
    shop.build().fails_with(1).says("more rows than a sheet").says("end with a slash");
    assert!(!shop.path("many.xlsx").exists());
    shop.write("models/every.sql", many(2500));
    shop.write(
        "exports.yml",
        "exports:\n  - {name: every, from: ref('every'), to: {path: many/, format: xlsx, max_rows: 1000}}\n",
    );
    shop.build().ok();
    let mut books: Vec<_> = std::fs::read_dir(shop.path("many"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "xlsx"))
        .collect();
    books.sort();
    assert_eq!(books.len(), 3);
    shop.write(
        "models/s.yml",
        "sources:\n  - name: back\n    tables:\n      - {name: t, ingest: {location: 'many/*.xlsx', mode: full}}\n",
    );
    shop.run(&["ingest"]).ok();
    assert_eq!(
        shop.rows("select count(*), count(*) filter (where even) from back.t"),
        ["2500,1250"]
    );
}
