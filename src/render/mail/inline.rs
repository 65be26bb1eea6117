//! Styles within the tags of a body: some mail programs drop the style sheet.

const SMALL_HEADING: &str = "margin:20px 0 8px;font-size:16px;line-height:24px;color:#101828";

/// Styles by tag. The style sheet of the wrapper has what depends on the place of a tag, and the
/// colours for a dark background.
const STYLES: [(&str, &str); 16] = [
    ("p", "margin:0 0 16px"),
    ("ul", "margin:0 0 16px;padding:0 0 0 24px"),
    ("ol", "margin:0 0 16px;padding:0 0 0 24px"),
    ("li", "margin:0 0 4px"),
    ("a", "color:#1d4ed8"),
    (
        "code",
        "font-family:Menlo,Consolas,monospace;font-size:14px;background-color:#f2f4f7;padding:1px 5px;border-radius:4px",
    ),
    (
        "pre",
        "margin:0 0 16px;padding:12px 14px;line-height:21px;background-color:#f2f4f7;border-radius:6px;white-space:pre-wrap;word-wrap:break-word",
    ),
    (
        "blockquote",
        "margin:0 0 16px;padding:0 0 0 14px;border-left:3px solid #d0d5dd;color:#475467",
    ),
    ("hr", "border:0;border-top:1px solid #e4e7ec;margin:24px 0"),
    ("img", "max-width:100%;height:auto;border:0"),
    ("h1", "margin:24px 0 8px;font-size:20px;line-height:28px;color:#101828"),
    ("h2", "margin:24px 0 8px;font-size:18px;line-height:26px;color:#101828"),
    ("h3", SMALL_HEADING),
    ("h4", SMALL_HEADING),
    ("h5", SMALL_HEADING),
    ("h6", SMALL_HEADING),
];

/// The HTML of a Markdown text with a style in each tag that needs one. Every `<` in it begins a
/// tag, since those of the text are escaped. `None` where it would be longer than `max` bytes.
pub(super) fn styled(body: &str, max: usize) -> Option<String> {
    let mut parts = body.split('<');
    let mut out = String::with_capacity(max.min(body.len() * 2));
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        let (tag, rest) = part.split_at(end);
        out.extend(["<", tag]);
        if let Some((_, style)) = STYLES.iter().find(|(name, _)| *name == tag) {
            out.extend([" style=\"", style, "\""]);
        }
        out.push_str(rest);
        if max < out.len() {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::markdown::to_html;

    #[test]
    fn tags_get_a_style_and_nothing_else_is_touched() {
        let html =
            to_html("a <p> &lt;p>\n\n- `<p>`\n\n[b](https://example.com/?q=%3Cp%3E \"<p>\")\n");
        let styled = styled(&html, usize::MAX).unwrap();
        assert!(
            styled.contains("<p style=\"margin:0 0 16px\">a &lt;p&gt; &lt;p&gt;</p>"),
            "{styled}"
        );
        assert!(styled.contains("<li style=\"margin:0 0 4px\"><code style=\""), "{styled}");
        assert!(styled.contains("<a style=\"color:#1d4ed8\" href=\"https://"), "{styled}");
        let mut plain = styled.clone();
        for (_, style) in STYLES {
            plain = plain.replace(&format!(" style=\"{style}\""), "");
        }
        assert_eq!(plain, html);
    }
}
