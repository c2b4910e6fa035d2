//! Files as rows.

use serde_json::json;

use crate::reading::{Options, Project};

fn project() -> Project {
    Project::with(&[
        ("docs/a.txt", "Größe\n".as_bytes()),
        ("docs/b/page.html", b"<html><body><h1>Hi</h1><p>there &amp; here</p></body></html>"),
        ("docs/c.pdf", b"%PDF-1.7 ..."),
        ("docs/empty", b""),
    ])
}

#[test]
fn each_file_is_a_row() {
    let project = project();
    let settings = json!({"location": "docs/**/*", "format": "file"});
    let outcome = project.read(settings.clone());
    assert_eq!(
        outcome.types(),
        [
            "path Utf8",
            "size Int64",
            "modified Timestamp(µs, \"UTC\")",
            "sha256 Utf8",
            "media_type Utf8"
        ]
    );
    assert_eq!(
        outcome.columns(&["path", "size", "media_type"]),
        [
            ["docs/a.txt", "8", "text/plain"],
            ["docs/b/page.html", "60", "text/html"],
            ["docs/c.pdf", "12", "application/pdf"],
            ["docs/empty", "0", "text/plain"],
        ]
    );
    // Of nothing.
    assert_eq!(
        outcome.columns(&["sha256"])[3],
        ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    );
    // What is new or has changed is read, without a word about it.
    project.write("docs/a.txt", "other");
    project.write("docs/d.txt", "new");
    let more = project.try_read(settings, Options::after(&outcome)).unwrap();
    assert_eq!(more.columns(&["path", "size"]), [["docs/a.txt", "5"], ["docs/d.txt", "3"]]);
    assert_eq!(more.replaces, Some(("_source_file".to_owned(), vec!["docs/a.txt".to_owned()])));
}

#[test]
fn content_comes_by_choice() {
    let project = project();
    let mut settings = json!({"location": "docs/**/*", "format": "file", "content": "text"});
    let texts = project.read(settings.clone());
    assert_eq!(
        texts.columns(&["text", "content_problem"]),
        [
            ["Größe\n", "∅"],
            ["Hi\nthere & here", "∅"],
            ["∅", "no text is read of application/pdf"],
            ["", "∅"],
        ]
    );
    settings["content"] = "bytes".into();
    settings["max_content_bytes"] = 20.into();
    let bytes = project.read(settings);
    assert_eq!(
        bytes.columns(&["content", "content_problem"]),
        [
            ["4772c3b6c39f650a", "∅"],
            ["∅", "larger than 20 bytes (`max_content_bytes`)"],
            ["255044462d312e37202e2e2e", "∅"],
            ["", "∅"],
        ]
    );
}
