//! The text of an HTML page, as a reader sees it: without tags, scripts and styles, with a line for
//! each block.

/// Elements whose content is no text.
const HIDDEN: [&str; 7] = ["script", "style", "template", "noscript", "head", "svg", "iframe"];

/// Elements that begin and end a line.
const BLOCKS: [&str; 34] = [
    "p",
    "div",
    "br",
    "li",
    "ul",
    "ol",
    "tr",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "pre",
    "blockquote",
    "dl",
    "dt",
    "dd",
    "hr",
    "form",
    "figure",
    "figcaption",
    "address",
    "option",
    "title",
    "body",
];

/// The text.
pub(super) fn text(html: &str) -> String {
    let mut out = Text::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push(&rest[..at]);
        let tag = &rest[at..];
        if let Some(comment) = tag.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
            continue;
        }
        let name = tag[1..].trim_start_matches('/');
        let is_tag = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if !is_tag && !tag.starts_with("<!") && !tag.starts_with("<?") {
            // A sign, as in `a < b`.
            out.push("<");
            rest = &tag[1..];
            continue;
        }
        let behind = behind_tag(tag);
        let length = name.find(|letter: char| !letter.is_ascii_alphanumeric());
        let name = name[..length.unwrap_or(name.len())].to_ascii_lowercase();
        rest = behind;
        if !is_tag {
            continue;
        }
        if HIDDEN.contains(&name.as_str()) && !tag.starts_with("</") {
            let closed = tag[..tag.len() - behind.len()].ends_with("/>");
            if !closed {
                rest = behind_end(behind, &name);
            }
        }
        if BLOCKS.contains(&name.as_str()) {
            out.line();
        } else if matches!(name.as_str(), "td" | "th") {
            out.blank();
        }
    }
    out.push(rest);
    out.text.trim().to_owned()
}

/// What stands behind a tag; `>` in quotes does not end it.
fn behind_tag(tag: &str) -> &str {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (byte, quote) {
            (b'>', None) => return &tag[at + 1..],
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    ""
}

/// What stands behind the end of an element.
fn behind_end<'a>(html: &'a str, name: &str) -> &'a str {
    let mut at = 0;
    while let Some(found) = html[at..].find("</") {
        let end = &html[at + found..];
        let is_end = end.get(2..2 + name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
        if is_end {
            return behind_tag(end);
        }
        at += found + 2;
    }
    ""
}

#[derive(Default)]
struct Text {
    text: String,
    /// A blank or line end comes before what follows.
    gap: Option<char>,
}

impl Text {
    fn push(&mut self, raw: &str) {
        let mut rest = raw;
        while let Some(first) = rest.chars().next() {
            if first == '&'
                && let Some((character, behind)) = reference(rest)
            {
                self.letter(character);
                rest = behind;
                continue;
            }
            self.letter(first);
            rest = &rest[first.len_utf8()..];
        }
    }

    fn letter(&mut self, letter: char) {
        if letter.is_whitespace() {
            self.blank();
            return;
        }
        if let Some(gap) = self.gap.take()
            && !self.text.is_empty()
        {
            self.text.push(gap);
        }
        self.text.push(letter);
    }

    fn blank(&mut self) {
        self.gap.get_or_insert(' ');
    }

    fn line(&mut self) {
        self.gap = Some('\n');
    }
}

/// A character that is written by its name or number, and what stands behind it.
fn reference(text: &str) -> Option<(char, &str)> {
    const NAMES: [(&str, char); 30] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("copy", '©'),
        ("reg", '®'),
        ("trade", '™'),
        ("euro", '€'),
        ("pound", '£'),
        ("sect", '§'),
        ("deg", '°'),
        ("middot", '·'),
        ("bull", '•'),
        ("hellip", '…'),
        ("ndash", '–'),
        ("mdash", '—'),
        ("lsquo", '‘'),
        ("rsquo", '’'),
        ("ldquo", '“'),
        ("rdquo", '”'),
        ("laquo", '«'),
        ("raquo", '»'),
        ("auml", 'ä'),
        ("ouml", 'ö'),
        ("uuml", 'ü'),
        ("szlig", 'ß'),
        ("eacute", 'é'),
        ("times", '×'),
    ];
    let (name, behind) = text.get(1..)?.split_once(';')?;
    if name.len() > 10 {
        return None;
    }
    let character = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => NAMES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((character, behind))
}

/// The encoding that a page says it has.
pub(super) fn charset(content: &[u8]) -> Option<String> {
    let head = content.get(..1024).unwrap_or(content);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let (_, rest) = head.split_once("charset=")?;
    let rest = rest.trim_start_matches(['"', '\'']);
    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_".contains(letter)));
    Some(rest[..end?].to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_sees() {
        let page = "<!DOCTYPE html><html><head><title>no</title></head><body class='a > b'>
            <h1>Prices &amp; terms</h1><!-- <p>not</p> -->
            <p>1 < 2, 5&nbsp;&euro; &#x26; &unknown;<br/>second   line</p>
            <script>if (a < b) { document.write('</p>'); }</SCRIPT >
            <table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table></body></html>";
        assert_eq!(text(page), "Prices & terms\n1 < 2, 5 € & &unknown;\nsecond line\na b\nc");
        assert_eq!(text("<p>open <b"), "open");
        assert_eq!(text("<script>"), "");
        assert_eq!(charset(b"<meta charset=\"ISO-8859-1\">").unwrap(), "iso-8859-1");
    }
}
