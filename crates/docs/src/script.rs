//! JSON inside JavaScript and HTML.

use std::fmt::Write;

/// The statement that gives the data to the page. Browsers read a long JSON text quicker than the same as
/// a literal of JavaScript. Nothing in it can end the string, the statement or a `<script>` around it.
pub(crate) fn assignment(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 16 + 64);
    out.push_str("window.TIDEMILL_DOCS=JSON.parse('");
    for character in json.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            // `</script>`, `<!--` and `]]>` are nothing special without their brackets.
            '<' => out.push_str("\\x3c"),
            '>' => out.push_str("\\x3e"),
            // Ends of lines to older readers of JavaScript; and what a file in UTF-8 cannot be sure to keep.
            '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                let _ = write!(out, "\\u{:04x}", character as u32);
            }
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", character as u32);
            }
            other => out.push(other),
        }
    }
    out.push_str("');\n");
    out
}

/// Text inside HTML, also in a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_string() {
        let text = "</script><!-- ' \\ \u{2028} \u{2029} \n \" ');alert(1)//";
        let json = serde_json::to_string(text).unwrap();
        let script = assignment(&json);
        assert!(!script.contains("</script") && !script.contains("<!--"));
        assert!(!script.contains('\u{2028}') && !script.contains('\u{2029}'));
        let inside = script
            .strip_prefix("window.TIDEMILL_DOCS=JSON.parse('")
            .unwrap()
            .strip_suffix("');\n")
            .unwrap();
        // Each quote inside follows an odd number of backslashes.
        for (at, _) in inside.match_indices('\'') {
            let backslashes = inside[..at].chars().rev().take_while(|c| *c == '\\').count();
            assert_eq!(backslashes % 2, 1, "{script}");
        }
        assert!(!inside.contains('\n'));
    }

    #[test]
    fn text_in_html() {
        assert_eq!(escaped("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
