//! Tests of both outputs of Markdown.

use proptest::prelude::*;

use super::plain::{parsed, plain_paragraphs};
use super::*;

#[test]
fn html_has_line_breaks_lists_and_safe_links() {
    for (markdown, html) in [
        ("a\nb", "<p>a<br />\nb</p>"),
        ("**a** *b* `c<d`", "<p><strong>a</strong> <em>b</em> <code>c&lt;d</code></p>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        (
            "[a](https://example.com/?b=1&c=2)",
            "<p><a href=\"https://example.com/?b=1&amp;c=2\">a</a></p>",
        ),
        ("<ann@example.com>", "<p><a href=\"mailto:ann@example.com\">ann@example.com</a></p>"),
        ("[a](mailto:ann@example.com)", "<p><a href=\"mailto:ann@example.com\">a</a></p>"),
        (
            "![a](https://example.com/a.png)",
            "<p><img src=\"https://example.com/a.png\" alt=\"a\" /></p>",
        ),
        ("", ""),
    ] {
        assert_eq!(to_html(markdown), html, "{markdown}");
    }
}

#[test]
fn links_and_images_that_lead_elsewhere_are_text() {
    for url in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "/relative",
        "#x",
        "ftp://example.com",
        "vbscript:x",
        "//example.com",
        "java&#10;script:alert(1)",
    ] {
        assert_eq!(to_html(&format!("[a *b*]({url}) c")), "<p>a <em>b</em> c</p>", "{url}");
        assert_eq!(to_html(&format!("![a]({url}) c")), "<p>a c</p>", "{url}");
        assert_eq!(to_plain(&format!("[a *b*]({url}) c")), "a b c", "{url}");
    }
    assert_eq!(to_html("![a](mailto:ann@example.com)"), "<p>a</p>");
    assert_eq!(
        to_html("[![a](data:x)](https://example.com/) [![b](https://example.com/b)](javascript:x)"),
        "<p><a href=\"https://example.com/\">a</a> <img src=\"https://example.com/b\" alt=\"b\" /></p>"
    );
}

#[test]
fn raw_html_is_shown_as_the_text_that_it_is() {
    assert_eq!(to_html("a <b onclick=x>c</b>"), "<p>a &lt;b onclick=x&gt;c&lt;/b&gt;</p>");
    assert_eq!(
        to_html("<script>\nalert(1)\n</script>\n\nb"),
        "<p>&lt;script&gt;\nalert(1)\n&lt;/script&gt;\n</p>\n<p>b</p>"
    );
    assert_eq!(to_plain("a <b>c</b>"), "a <b>c</b>");
    assert_eq!(to_plain("<div>\nx\n</div>\n\nb"), "<div>\nx\n</div>\n\nb");
}

#[test]
fn plain_text_reads_well() {
    for (markdown, plain) in [
        ("# Title\ntext\nmore  \nlines\n\n\nnext", "Title\n\ntext\nmore\nlines\n\nnext"),
        ("a\n\n- b\n- c\n  - d\n  - e\n- f\n\ng", "a\n\n- b\n- c\n  - d\n  - e\n- f\n\ng"),
        ("9. a\n10. b\n\n    c\n", "9. a\n\n10. b\n\n    c"),
        ("> a\n>\n> b\n\nc", "> a\n>\n> b\n\nc"),
        ("- > a\n  > b", "- > a\n  > b"),
        ("a\n\n```\nb  c\n\n  d\n```\ne", "a\n\nb  c\n\n  d\n\ne"),
        ("a\n\n---\n\nb", "a\n\n----\n\nb"),
        ("[a](https://example.com/) b", "a (https://example.com/) b"),
        ("<https://example.com/>", "https://example.com/"),
        (
            "<ann@example.com> [mail](mailto:ann@example.com)",
            "ann@example.com mail (mailto:ann@example.com)",
        ),
        ("![logo](https://example.com/l.png)", "logo (https://example.com/l.png)"),
        ("[](https://example.com/)", "https://example.com/"),
        ("**a** _b_ `c` &amp; &lt; \\* 1\\.10", "a b c & < * 1.10"),
        ("  \n", ""),
    ] {
        assert_eq!(to_plain(markdown), plain, "{markdown:?}");
    }
}

#[test]
fn strange_markdown_gives_some_text_and_no_panic() {
    for markdown in [
        "[]()",
        "![]()",
        "[[[[[[",
        "****",
        "> > > > a",
        "1.\n2.\n",
        "- \n-",
        "\u{0}\u{feff}",
        "[a]: x",
        "&#0; &#x110000;",
    ] {
        to_plain(markdown);
        to_html(markdown);
    }
    let deep = "> ".repeat(2000) + "a";
    assert!(to_plain(&deep).ends_with('a'));
    assert!(to_html(&deep).contains('a'));
    let many_lines = deep + &"\na".repeat(2000);
    assert!(to_plain(&many_lines).len() < 5 * many_lines.len() + 32 * 2000);
}

#[test]
fn paragraphs_of_words_are_taken_at_a_glance() {
    let text = r"Workspace **analytical\-engine** \(no\. 5\)
was deleted (**why\?**).

**Bye**";
    let plain = "Workspace analytical-engine (no. 5)\nwas deleted (why?).\n\nBye";
    assert_eq!(plain_paragraphs(text).unwrap(), plain);
    for text in [
        "# a",
        "- a",
        "1. a",
        "a *b*",
        "a\n- b",
        "a\n===",
        "a\n    b",
        "a &amp; b",
        "a\\",
        " a",
        "a_b",
        "<b>",
        "a\tb",
        "**a",
        "** a**",
        "a**b**",
        r"**a\.**b",
        "**a **",
        "***a***",
        "**a\nb**",
        "* a",
        "a\n\n\nb",
        "\na",
    ] {
        assert_eq!(plain_paragraphs(text), None, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_taken_at_a_glance_is_what_the_parser_finds(
        text in r"([a-zé]|\*\*|[( .]|\n|\n\n|\\[-*.(`]|[ -~]){0,12}",
    ) {
        if let Some(plain) = plain_paragraphs(&text) {
            let found = parsed(&text);
            prop_assert_eq!(plain.trim(), found.trim());
        }
    }
}

#[test]
fn indents_do_not_make_a_huge_text_of_a_small_one() {
    let lazy = "1234567. ".repeat(16) + "a" + &"\nb".repeat(50_000);
    assert!(to_plain(&lazy).len() < 3 * lazy.len() + INDENTS);
    let usual = "> - a\n>   b\n".repeat(1000);
    assert!(to_plain(&usual).lines().all(|line| line.starts_with('>')));
}

/// Some of the first lines.
const INDENTS: usize = 20 << 10;

#[test]
fn lines_that_repeat_no_marks_are_counted_with_all_that_is_around_them() {
    let deep = "- ".repeat(5000);
    for (text, is_soon) in [
        (deep.clone() + "x", true),
        (deep.clone() + "x" + &"\ny".repeat(100), true),
        (deep.clone() + "x" + &"\ny".repeat(5000), false),
        (deep.clone() + "x" + &"\ry".repeat(5000), false),
        (deep.clone() + "x" + &"\r\ny".repeat(5000), false),
        (deep.clone() + "x" + &"\n\u{a0}".repeat(5000), false),
        (deep.clone() + "x\n\n" + &"y\n".repeat(5000), true),
        (">".repeat(5000) + "x" + &"\ny".repeat(5000), false),
        ("\t".repeat(2500) + "- x" + &"\ny".repeat(5000), false),
        ("-".repeat(5000) + &"\ny".repeat(5000), true),
        ("    code\n".repeat(20_000), true),
    ] {
        assert_eq!(is_soon_read(&text), is_soon, "{:.20}…{:?}", text, &text[text.len() - 8..]);
    }
}
