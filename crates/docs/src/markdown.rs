//! Markdown of descriptions to HTML that is safe to put into a page.

use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};

/// HTML of a description. Raw HTML in it is shown as it was typed; headings stand two levels lower, below
/// those of the page; links lead to the web, to mail or to a page of the site, others are only their
/// text; images are shown from `assets/` alone, others become links, so that no page asks a network.
pub(crate) fn html(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_GFM;
    let mut open = Vec::new();
    let events = Parser::new_ext(text, options).filter_map(|event| safe(event, &mut open));
    let mut out = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

/// One event, made safe. `open` has, for each link or image that is open, the event that closes it.
fn safe<'a>(event: Event<'a>, open: &mut Vec<Option<TagEnd>>) -> Option<Event<'a>> {
    Some(match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        // Its own text, so that nothing of it is lost.
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: lower(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lower(level))),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let target = match link_type {
                LinkType::Email => Some(format!("mailto:{dest_url}")),
                _ => target(&dest_url),
            };
            open.push(target.is_some().then_some(TagEnd::Link));
            Event::Start(Tag::Link {
                link_type: LinkType::Inline,
                dest_url: CowStr::from(target?),
                title,
                id,
            })
        }
        Event::Start(Tag::Image { dest_url, title, id, .. }) => {
            if is_asset(&dest_url) {
                open.push(Some(TagEnd::Image));
                let link_type = LinkType::Inline;
                return Some(Event::Start(Tag::Image { link_type, dest_url, title, id }));
            }
            let target = target(&dest_url);
            open.push(target.is_some().then_some(TagEnd::Link));
            let dest_url = CowStr::from(target?);
            Event::Start(Tag::Link { link_type: LinkType::Inline, dest_url, title, id })
        }
        Event::End(TagEnd::Link | TagEnd::Image) => Event::End(open.pop()??),
        other => other,
    })
}

fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

/// Where a link may lead. A link of dbt's own site (`#!/model/model.shop.orders`) leads to our page.
pub(crate) fn target(address: &str) -> Option<String> {
    if let Some(route) = address.strip_prefix("#!/") {
        let id = route.split(['?', '#']).next().unwrap_or_default().rsplit('/').next()?;
        return Some(if id == "overview" { "#/".to_owned() } else { format!("#/{id}") });
    }
    if address.starts_with("#/") {
        return Some(address.to_owned());
    }
    let (scheme, rest) = address.split_once(':')?;
    let known = ["http", "https", "mailto"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (known && !rest.is_empty()).then(|| address.to_owned())
}

/// An image of the project's `asset-paths`, which stand beside the site.
fn is_asset(address: &str) -> bool {
    address.starts_with("assets/") && !address.contains("..") && !address.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        assert_eq!(html("a *b* `c`"), "<p>a <em>b</em> <code>c</code></p>\n");
        assert_eq!(html("# Title"), "<h2>Title</h2>\n");
        assert!(html("| a | b |\n|---|---|\n| 1 | 2 |").contains("<td>1</td>"));
        assert_eq!(html("  \n"), "");
    }

    #[test]
    fn raw_html_is_shown_and_never_becomes_markup() {
        for text in [
            "<script>alert(1)</script>",
            "x <img src=x onerror=alert(1)> y",
            "<div onclick='a()'>\n\n**b**\n\n</div>",
            "<!-- --><svg/onload=alert(1)>",
            "```html\n</code><script>alert(1)</script>\n```",
            "a `</code><script>` b",
            "# <script>x</script> {onclick=alert(1)}",
            "[<script>x</script>](https://e.org)",
            "![<img src=x onerror=y>](https://e.org/\"onload=\"x)",
        ] {
            let html = html(text);
            assert!(!html.contains("<script"), "{text} gives {html}");
            assert!(!html.contains("<img"), "{text} gives {html}");
            assert!(!html.contains("<svg"), "{text} gives {html}");
            assert!(!html.contains("<div"), "{text} gives {html}");
            assert!(!html.contains("\"onload"), "{text} gives {html}");
        }
        assert!(
            html("<script>alert(1)</script>").contains("&lt;script&gt;alert(1)&lt;/script&gt;")
        );
    }

    #[test]
    fn links_lead_where_they_may() {
        let link = |address: &str| html(&format!("[t]({address})"));
        assert!(link("https://e.org/a?b=1&c").contains("href=\"https://e.org/a?b=1&amp;c\""));
        assert!(link("mailto:a@b.c").contains("href=\"mailto:a@b.c\""));
        assert!(link("#!/model/model.shop.orders").contains("href=\"#/model.shop.orders\""));
        assert!(link("#!/overview").contains("href=\"#/\""));
        for address in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "a.md",
            "//e.org",
            "file:///etc/passwd",
        ] {
            assert_eq!(link(address), "<p>t</p>\n", "{address}");
        }
        assert!(html("<me@shop.example>").contains("mailto:me@shop.example"));
    }

    #[test]
    fn images_come_from_the_projects_assets_alone() {
        assert!(html("![a](assets/x.png)").contains("<img src=\"assets/x.png\" alt=\"a\""));
        assert_eq!(
            html("![a](https://e.org/x.png)"),
            "<p><a href=\"https://e.org/x.png\">a</a></p>\n"
        );
        assert_eq!(html("![a](assets/../../x.png)"), "<p>a</p>\n");
        assert_eq!(
            html("[![a](x.png)](https://e.org)"),
            "<p><a href=\"https://e.org\">a</a></p>\n"
        );
    }
}
