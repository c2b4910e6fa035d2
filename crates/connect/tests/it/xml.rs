//! XML documents.

use serde_json::{Value, json};

use crate::reading::{Options, Outcome, Project};

fn read_with(content: impl AsRef<[u8]>, mut settings: Value) -> Outcome {
    settings["location"] = json!("a.xml");
    Project::with(&[("a.xml", content.as_ref())]).read(settings)
}

fn read(content: &str) -> Outcome {
    read_with(content, json!({}))
}

const ORDERS: &str = r#"<?xml version="1.0"?>
<!-- orders -->
<s:orders xmlns:s="urn:shop" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <s:order id="1" day="2024-01-31">
    <customer>M&#252;ller &amp; <![CDATA[<Sons>]]></customer>
    <price currency="EUR">12.50</price>
    <item><sku>a</sku><n>1</n></item>
    <item><sku>b</sku></item>
    <tag>new</tag>
    <zip>01234</zip>
    <empty/>
  </s:order>
  <s:order id="2" day="2024-02-01">
    <customer xsi:nil="true">x</customer>
    <price>3</price>
    <item><sku>c</sku><n>7</n></item>
    <zip>50667</zip>
  </s:order>
</s:orders>"#;

#[test]
fn elements_are_rows() {
    let outcome = read(ORDERS);
    assert_eq!(
        outcome.types(),
        [
            "id Int64",
            "day Date32",
            "customer Utf8",
            "price Struct(\"currency\": Utf8, \"_text\": Float64)",
            "item List(Struct(\"sku\": Utf8, \"n\": Int64))",
            "tag Utf8",
            "zip Utf8",
            "empty Utf8",
        ]
    );
    assert_eq!(
        outcome.table(),
        [
            [
                "1",
                "2024-01-31",
                "Müller & <Sons>",
                "{currency: EUR, _text: 12.5}",
                "[{sku: a, n: 1}, {sku: b, n: ∅}]",
                "new",
                "01234",
                "∅"
            ],
            [
                "2",
                "2024-02-01",
                "∅",
                "{currency: ∅, _text: 3.0}",
                "[{sku: c, n: 7}]",
                "∅",
                "50667",
                "∅"
            ],
        ]
    );
    assert_eq!(outcome.columns(&["_source_row"]), [["1"], ["2"]]);
}

#[test]
fn rows_are_found_by_name_or_path() {
    let items = read_with(ORDERS, json!({"records": "item"}));
    assert_eq!(items.columns(&["sku", "n"]), [["a", "1"], ["b", "∅"], ["c", "7"]]);
    let path = read_with(ORDERS, json!({"records": "orders.order.item"}));
    assert_eq!(path.table(), items.table());
    let kept = read_with(
        ORDERS,
        json!({"records": "s:orders.s:order", "namespaces": "keep", "attribute_prefix": "attr_"}),
    );
    assert_eq!(kept.columns(&["attr_id"]), [["1"], ["2"]]);
    assert_eq!(read_with(ORDERS, json!({"records": "nothing"})).row_count(), 0);
    let plain = read("<r><v>1</v><v>2</v></r>");
    assert_eq!(
        (plain.types(), plain.table()),
        (
            vec!["_text Int64".into()],
            vec![vec!["1"], vec!["2"]]
                .into_iter()
                .map(|row| row.into_iter().map(str::to_owned).collect())
                .collect()
        )
    );
}

#[test]
fn a_list_is_a_list_in_every_row() {
    // Seen behind the sample.
    let once = "<row><tag>1</tag></row>".repeat(2000);
    let content = format!("<rows>{once}<row><tag>2</tag><tag>3</tag></row></rows>");
    let outcome = read_with(&content, json!({"sample_bytes": "1KiB"}));
    assert_eq!((outcome.types(), outcome.restarts), (vec!["tag List(Int64)".to_owned()], 1));
    assert_eq!(outcome.table()[0], ["[1]"]);
    assert_eq!(outcome.table()[2000], ["[2, 3]"]);
    // In a later file it is one still.
    let project = Project::with(&[("1.xml", content.as_bytes())]);
    let first = project.read(json!("*.xml"));
    project.write("2.xml", "<rows><row><tag>4</tag></row></rows>");
    let more = project.try_read(json!("*.xml"), Options::after(&first)).unwrap();
    assert_eq!(more.table(), [["[4]"]]);
    // Of a table of plain values a list is text.
    let project = Project::with(&[("1.xml", b"<rows><row><tag>4</tag></row></rows>")]);
    let first = project.read(json!("*.xml"));
    project.write("2.xml", &content);
    let more = project.try_read(json!("*.xml"), Options::after(&first)).unwrap();
    assert_eq!(more.types(), ["tag Utf8"]);
    assert_eq!(more.table().last().unwrap(), &["[2,3]"]);
    assert_eq!(more.replaces.unwrap().1, ["1.xml"]);
}

#[test]
fn rows_that_cannot_be_read_are_rejected() {
    let content = format!(
        "<!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\
         <r><x><v>1</v></x><x><v>&b;</v></x><x v=\"1\"><v>2</v></x><x><v>{}</v></x><x><v>3</v></x></r>",
        "<w>y</w>".repeat(1000)
    );
    let outcome = read_with(&content, json!({"max_record_bytes": "4KiB"}));
    assert_eq!(outcome.columns(&["v", "_source_row"]), [["1", "1"], ["3", "5"]]);
    let reasons: Vec<(i64, &str)> =
        outcome.rejected.iter().map(|(_, row, reason, _)| (*row, reason.as_str())).collect();
    assert_eq!(reasons[0], (2, "it refers to the entity `&b;`, which is not expanded"));
    assert!(reasons[1].1.contains("is an attribute and an element"), "{reasons:?}");
    assert_eq!(reasons[2], (4, "a row longer than 4096 bytes (`max_record_bytes`)"));
}

#[test]
fn what_is_no_xml_is_no_table() {
    let project = Project::new();
    for (content, says) in
        [("<r><x></r>", "not XML"), ("<r><x><v>1</v></x>", "ends before"), ("id,name\n1,a\n", "")]
    {
        project.write("a.xml", content);
        match project.try_read(json!("a.xml"), Options::default()) {
            Err(error) => {
                let report = error.report();
                assert!(report.contains(says) && report.contains("a.xml"), "{report}");
            }
            Ok(outcome) => assert_eq!((says, outcome.row_count()), ("", 0)),
        }
    }
    // A text that would have to be in memory as a whole.
    project.write("a.xml", format!("<r><x>{}</x></r>", "y".repeat(1 << 20)));
    let settings = json!({"location": "a.xml", "max_record_bytes": "64KiB"});
    let error = project.try_read(settings, Options::default()).unwrap_err().report();
    assert!(error.contains("`max_record_bytes`"), "{error}");
}

#[test]
fn the_document_says_its_encoding() {
    let (bytes, _, _) = encoding_rs::WINDOWS_1252
        .encode("<?xml version='1.0' encoding='ISO-8859-1'?><r><x><v>Größe</v></x></r>");
    assert_eq!(read_with(&bytes, json!({})).table(), [["Größe"]]);
    let utf16: Vec<u8> =
        "\u{feff}<r><x><v>Größe</v></x></r>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read_with(utf16, json!({})).table(), [["Größe"]]);
}
