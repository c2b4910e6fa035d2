//! Nothing of a project runs in the page.

use serde_json::json;
use tidemill_docs::{Artifacts, Site};

use crate::shop;

const ATTACK: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"\\\u{2028}\n{{ x }}{title}{head}";

#[test]
fn hostile_names_and_texts_stay_text_in_every_file() {
    let mut manifest = shop();
    manifest["metadata"]["project_name"] = json!(ATTACK);
    let orders = &mut manifest["nodes"]["model.shop.fct_orders"];
    for key in [
        "name",
        "description",
        "raw_code",
        "compiled_code",
        "schema",
        "relation_name",
        "group",
        "original_file_path",
    ] {
        orders[key] = json!(ATTACK);
    }
    orders["tags"] = json!([ATTACK]);
    orders["meta"] = json!({ATTACK: ATTACK, "owner": ATTACK});
    orders["docs"] = json!({"show": true, "node_color": "red;background:url(x)"});
    orders["columns"] = json!({"c": {"name": ATTACK, "description": ATTACK, "data_type": ATTACK, "tags": [ATTACK]}});
    manifest["exposures"]["exposure.shop.board"]["url"] = json!("javascript:alert(1)");
    let site = Site::distil(&Artifacts {
        manifest: &manifest,
        readme: Some(ATTACK),
        ..Artifacts::default()
    });
    let page = site.pages.iter().find(|page| page.id == "model.shop.fct_orders").unwrap();
    assert!(
        page.description.contains("&lt;script&gt;") && !page.description.contains("<script"),
        "{}",
        page.description
    );
    assert!(page.description.contains("&lt;img") && !page.description.contains("<img"));
    assert_eq!(page.color, "");
    let board = site.pages.iter().find(|page| page.kind == "exposure").unwrap();
    assert!(board.fields.iter().all(|field| field.link.is_empty()));

    let folder = tempfile::tempdir().unwrap();
    site.write(folder.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let data = read("data.js");
    // The names are there as they are, and nothing in them ends a string or a script.
    assert!(!data.contains('<') && !data.contains('>') && !data.contains('\u{2028}'));
    assert_eq!(data.lines().count(), 1);
    let html = read("index.html");
    assert_eq!(html.matches("<script").count(), 2, "site.js and data.js alone:\n{html}");
    assert!(!html.contains("<img"));
    assert_eq!(html.matches("<title>").count(), 1);

    let whole = site.single_file().unwrap();
    assert_eq!(whole.matches("<script").count(), 2);
    assert_eq!(whole.matches("</script>").count(), 2);
    assert!(!site.signpost("docs").contains("<script"));
}

#[test]
fn the_pages_ask_nobody_for_anything() {
    let site = Site::distil(&Artifacts { manifest: &shop(), ..Artifacts::default() });
    let whole = site.single_file().unwrap();
    for address in [
        "src=\"http",
        "href=\"http",
        "url(",
        "@import",
        "fetch(",
        "XMLHttpRequest",
        "eval(",
        "new Function",
    ] {
        assert!(!whole.contains(address), "the site has {address}");
    }
    // What the server forbids must not be needed: inline handlers and styles.
    let folder = tempfile::tempdir().unwrap();
    site.write(folder.path()).unwrap();
    let html = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(!html.contains(" style=") && !html.contains(" onclick=") && !html.contains("<style"));
}

#[test]
fn files_are_replaced_whole_and_images_come_along() {
    let mut manifest = shop();
    manifest["nodes"]["model.shop.dim_day"]["description"] =
        json!("![a](assets/a.png) ![b](assets/missing.png) ![c](assets/../secret.png)");
    let project = tempfile::tempdir().unwrap();
    std::fs::create_dir(project.path().join("assets")).unwrap();
    std::fs::write(project.path().join("assets/a.png"), "png").unwrap();
    std::fs::write(project.path().join("secret.png"), "secret").unwrap();
    let site = Site::distil(&Artifacts { manifest: &manifest, ..Artifacts::default() });
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        site.write(folder.path()).unwrap();
        site.copy_images(project.path(), folder.path()).unwrap();
    }
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["assets", "data.js", "index.html", "site.css", "site.js"]);
    assert!(folder.path().join("assets/a.png").is_file());
    assert!(!folder.path().join("secret.png").exists());
}
