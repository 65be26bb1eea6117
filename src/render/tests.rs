//! Tests of compiling and rendering: the cases of area render, and what is refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::outcome::Verdict;
use crate::payload::Payload;

/// A message's payload with these labels.
fn payload(labels: impl Into<Value>) -> Value {
    let labels = labels.into();
    json!({ "_version": "1.2", "notification_name": "Test", "user_id": "u1",
            "user_email": "ann@example.com", "labels": labels, "data": null, "targets": [] })
}

fn branding() -> BrandingConfig {
    BrandingConfig {
        app_name: "Acme & Co".into(),
        logo_url: None,
        base_url: "https://app.example.com/".into(),
    }
}

fn source(title: &str, body: &str) -> TemplateSource {
    TemplateSource { title: title.into(), body: body.into(), ..TemplateSource::default() }
}

fn with_action(label: &str, url: &str) -> TemplateSource {
    let actions = vec![Action { label: label.into(), url: url.into() }];
    TemplateSource { title: "t".into(), body: "b".into(), actions, ..TemplateSource::default() }
}

fn render(source: &TemplateSource, payload: &Value) -> Result<Rendered, RenderError> {
    let template = Template::compile(source).unwrap_or_else(|err| panic!("{err}"));
    let payload = Payload::from(payload.clone());
    let document = payload.read().unwrap();
    let context = Context { payload: &document, branding: &branding(), year: 2026 };
    template.render(&context, Instant::now() + TIME_MAX)
}

/// The body's plain text.
fn plain(body: &str, payload: &Value) -> Result<String, RenderError> {
    render(&source("t", body), payload).map(|rendered| markdown::to_plain(&rendered.body))
}

fn refused(body: &str) -> TemplateError {
    Template::compile(&source("t", body)).map(|_| ()).expect_err(body)
}

/// What a browser or a JSON reader makes of references in HTML that we write.
fn unescape(html: &str) -> String {
    ["&lt;:<", "&gt;:>", "&quot;:\"", "&#x27;:'", "&#39;:'", "&#x60;:`", "&#x3D;:=", "&amp;:&"]
        .iter()
        .filter_map(|pair| pair.split_once(':'))
        .fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn c29_values_arrive_unchanged_in_text_and_html() {
    let org = "Jack o'Neill & Söhne <x> a=b`";
    let url = "https://example.com/x?a=1&b=2";
    let payload = payload(json!({ "org": org, "n": 3, "url": url }));
    let template = TemplateSource {
        title: "{{org}}: {{n}} new".into(),
        body: "{{url}}\n\n[open]({{url}})".into(),
        actions: vec![Action { label: "{{org}}".into(), url: "{{url}}".into() }],
        ..TemplateSource::default()
    };
    let rendered = render(&template, &payload).unwrap();
    assert_eq!(markdown::to_plain(&rendered.title), format!("{org}: 3 new"));
    assert_eq!(markdown::to_plain(&rendered.body), format!("{url}\n\nopen ({url})"));
    assert_eq!(rendered.actions, [Action { label: org.into(), url: url.into() }]);
    let html = markdown::to_html(&rendered.body);
    assert_eq!(unescape(&html), format!("<p>{url}</p>\n<p><a href=\"{url}\">open</a></p>"));
    assert_eq!(unescape(&markdown::to_html(&rendered.title)), format!("<p>{org}: 3 new</p>"));
}

#[test]
fn c31_missing_is_an_error_and_null_is_empty() {
    let payload = payload(json!({ "a": null, "obj": {} }));
    let missing = |body: &str| plain(body, &payload).expect_err(body);
    assert_eq!(missing("{{user_name}}").variable.as_deref(), Some("user_name"));
    assert_eq!(missing("{{obj.zip}}").variable.as_deref(), Some("obj.zip"));
    assert_eq!(plain("{{a}}", &payload).unwrap(), "");
    assert_eq!(missing("{{a.deep}}").variable.as_deref(), Some("a.deep"));
    assert_eq!(plain("{{#if missing}}y{{else}}n{{/if}}", &payload).unwrap(), "n");
    assert_eq!(missing("{{#each missing}}x{{/each}}").variable.as_deref(), Some("missing"));
    assert_eq!(plain("{{#each missing}}x{{else}}none{{/each}}", &payload).unwrap(), "none");
    assert!(missing("{{eq missing 1}}").message.contains("{{eq missing 1}}"));
    assert!(missing("{{lookup labels \"zip\"}}").message.contains("{{lookup labels \"zip\"}}"));
}

#[test]
fn an_error_names_part_line_column_and_variable_in_one_line() {
    let err = plain("one\n  {{#if true}}ä{{labels.oops}}{{/if}}", &payload(json!({}))).unwrap_err();
    assert_eq!((err.part.as_str(), err.line, err.column), ("body", 2, 16));
    assert_eq!(
        err.to_string(),
        "template body, line 2, column 16: the message has no \"labels.oops\" for \
         {{labels.oops}}; correct the name or supply it"
    );
    let err = render(&with_action("{{nope}}", "https://example.com"), &payload(json!({})));
    assert_eq!(err.unwrap_err().part, "actions[0].label");
}

#[test]
fn c32_label_names_of_all_kinds_are_reached() {
    let labels = json!({ "tcp-backlog": 1, "key with space": 2, "k.dot": 3, "k/sl": 4, "@at": 5,
                         "nullable": "yes", "this_week": 7, "ключ": "v", "1": "one", "true": "T" });
    let all = payload(labels.clone());
    let body = "{{tcp-backlog}} {{[key with space]}} {{[k.dot]}} {{[k/sl]}} {{[@at]}} \
                {{nullable}} {{this_week}} {{ключ}} {{[1]}} {{true}}";
    assert_eq!(plain(body, &all).unwrap(), "1 2 3 4 5 yes 7 v one T");
    let pairs = plain("{{#each labels}}{{@key}}={{this}};{{/each}}", &all).unwrap();
    assert_eq!(
        pairs,
        "1=one;@at=5;k.dot=3;k/sl=4;key with space=2;nullable=yes;tcp-backlog=1;this_week=7;true=T;ключ=v;"
    );
    let root = plain("{{#each this}}{{@key}}={{this}};{{/each}}", &all).unwrap();
    for (key, value) in labels.as_object().unwrap() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(root.contains(&format!("{key}={value};")), "{key} in {root}");
    }
    assert_eq!(plain("{{k.dot}}", &all).unwrap_err().variable.as_deref(), Some("k.dot"));
}

#[test]
fn a_label_does_not_hide_a_field_of_the_document_or_a_helper() {
    let payload =
        payload(json!({ "user_email": "x", "targets": "y", "base_url": "z", "app_name": "w" }));
    let body =
        "{{user_email}} {{len targets}} {{base_url}} {{labels.user_email}} {{labels.base_url}}";
    assert_eq!(plain(body, &payload).unwrap(), "ann@example.com 0 https://app.example.com x z");
}

#[test]
fn c34_numbers_keep_their_digits() {
    for digits in [
        "566712522",
        "3544790567247868102",
        "9007199254740993",
        "18446744073709551615",
        "1152921504606846976001",
        "-9223372036854775808",
        "1.0",
        "1.10",
        "0.1",
        "1e21",
        "1e400",
    ] {
        let labels: Value = serde_json::from_str(&format!("{{\"n\":{digits}}}")).unwrap();
        let printed = plain("{{n}}", &payload(labels)).unwrap();
        // The exponent's sign is free: "1e21" and "1e+21" are the same number as written.
        assert_eq!(printed.replace("e+", "e"), digits);
    }
}

#[test]
fn c35_a_broken_template_is_an_error_with_its_place_and_never_half_a_text() {
    let payload = payload(json!({ "n": 1 }));
    assert_eq!(plain("ok {{n}}", &payload).unwrap(), "ok 1");
    for (body, column, word) in [
        ("Hi {{n}} {{#if}}", 10, "{{/if}}"),
        ("Hi {{n}} {{nohelper n}}", 10, "nohelper"),
        ("{{> nopartial}}", 1, "partials"),
        ("{{#if n}}", 1, "{{/if}}"),
        ("Hi {{n}} {{#if}}x{{/if}}", 10, "if"),
    ] {
        let err = refused(body);
        assert_eq!((err.part.as_str(), err.line, err.column), ("body", 1, column), "{err}");
        assert!(err.message.contains(word), "{body}: {err}");
        assert!(!err.to_string().contains('\n'), "{err}");
    }
}

#[test]
fn c37_values_with_quotes_and_controls_stay_as_they_are_in_the_payload() {
    let value = "Server DOWN\nping: \"10 ms\" C:\\tmp \u{1} \u{2028} é 😀";
    let payload = payload(json!({ "message": value }));
    let rendered = render(&source("{{message}}", "{{message}}"), &payload).unwrap();
    let shown = "Server DOWN ping: \"10 ms\" C:\\tmp    é 😀";
    assert_eq!(markdown::to_plain(&rendered.title), shown);
    let json =
        serde_json::to_string(&json!({ "title": rendered.title, "labels": payload["labels"] }));
    let read: Value = serde_json::from_str(&json.unwrap()).unwrap();
    assert_eq!(read["labels"]["message"], value);
    assert_eq!(read["title"], rendered.title.as_str());
}

/// Values that try to be more than text.
const NASTY: [&str; 30] = [
    "[x](javascript:alert(1))",
    "[x](https://evil.example.com)",
    "![x](https://evil.example.com/a.png)",
    "<https://evil.example.com>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- comment",
    "&lt;b&gt; &amp; &#60;b&#62;",
    "# heading",
    "## heading ##",
    "> quote",
    "- item",
    "+ item",
    "* item",
    "1. item",
    "1) item",
    "    code",
    "\tcode",
    "```\ncode\n```",
    "~~~",
    "`code`",
    "**bold** __bold__ *em* _em_ ~~gone~~",
    "---",
    "===",
    "a\n===\nb",
    "a  \nb\\\nc",
    "[x]: https://evil.example.com\n\n[x]",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "\\[x\\] \\\\ \\",
    "{{user_id}} {{{user_id}}}",
];

/// Blanks and breaks as one space, as a reader sees them.
fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_value_becomes_markup_wherever_it_stands() {
    for value in NASTY {
        let payload = payload(json!({ "v": value, "m": { (value): value } }));
        for (before, after) in [
            ("", ""),
            ("Hi ", "!"),
            ("a\n", "\nb"),
            ("- ", ""),
            ("> ", ""),
            ("**", "**"),
            ("# ", ""),
        ] {
            let body = format!("{before}{{{{v}}}}{after}");
            let rendered = render(&source(&body, &body), &payload).unwrap();
            let (text, html) =
                (markdown::to_plain(&rendered.body), markdown::to_html(&rendered.body));
            let case = format!("{body:?} with {value:?}: {text:?} {html:?}");
            assert!(fold(&text).contains(&fold(value)), "{case}");
            assert!(fold(&unescape(&html)).contains(&fold(value)), "{case}");
            let plain_value = markdown::to_html(&body.replace("{{v}}", "word"));
            assert_eq!(tags(&html), tags(&plain_value), "{case}");
        }
        let keys = plain("{{#each m}}{{@key}} {{this}}{{/each}}", &payload).unwrap();
        assert_eq!(fold(&keys), fold(&format!("{value} {value}")));
    }
}

/// All that is between angle brackets.
fn tags(html: &str) -> Vec<&str> {
    html.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag).collect()
}

#[test]
fn values_of_all_fields_are_escaped_alike() {
    let nasty = "<b>*x*</b>";
    let payload = json!({ "user_name": nasty, "user_email": nasty, "notification_name": nasty,
                          "labels": { "l": nasty }, "data": { "d": [nasty] }, "targets": [nasty] });
    for body in [
        "{{user_name}}",
        "{{user_email}}",
        "{{notification_name}}",
        "{{labels.l}}",
        "{{l}}",
        "{{data.d.[0]}}",
        "{{#each data.d}}{{this}}{{/each}}",
        "{{#each targets as |t|}}{{t}}{{/each}}",
        "{{#with data}}{{lookup d 0}}{{/with}}",
        "{{lookup labels \"l\"}}",
        "{{@root.user_name}}",
        "{{#each data.d}}{{@root.labels.l}}{{/each}}",
        "{{#each data}}{{#each this}}{{this}}{{/each}}{{/each}}",
    ] {
        let rendered = render(&source("t", body), &payload).unwrap();
        assert_eq!(rendered.body, "\\<b\\>\\*x\\*\\<\\/b\\>", "{body}");
    }
}

#[test]
fn code_shows_any_value_as_it_is() {
    for value in NASTY.into_iter().chain(["`", "``", "a`", "`a", " ` `` ", "a ``` b", "", " "]) {
        let payload = payload(json!({ "v": value }));
        for (before, after) in [("", ""), ("a ", " b"), ("{{v}}", "{{v}}"), ("> ", ""), ("- ", "")]
        {
            let body = format!("{before}{{{{code v}}}}{after}");
            let rendered = render(&source("t", &body), &payload).unwrap();
            let html = markdown::to_html(&rendered.body);
            let case = format!("{body:?} with {value:?}: {html:?}");
            assert!(fold(&markdown::to_plain(&rendered.body)).contains(&fold(value)), "{case}");
            let shown = html.split_once("<code>").and_then(|(_, rest)| rest.split_once("</code>"));
            let shown = shown.map(|(code, _)| fold(&unescape(code)));
            assert_eq!(shown.unwrap_or_default(), fold(value), "{case}");
        }
    }
}

#[test]
fn code_that_its_surroundings_break_is_plain_text() {
    let value = "` <b> [x](https://evil.example.com) **y**";
    let payload = payload(json!({ "v": value, "list": [value, value] }));
    for body in [
        "stray ` {{code v}}",
        "stray `` {{code v}}",
        "{{code v}}{{code v}}",
        "{{#each list}}{{code this}}{{/each}}",
        "{{code v}}``",
        "[a]({{code v}})",
    ] {
        let rendered = render(&source("t", body), &payload).unwrap();
        let html = markdown::to_html(&rendered.body);
        assert!(markdown::to_plain(&rendered.body).contains(value), "{body}: {html}");
        assert!(
            tags(&html).iter().all(|tag| ["p", "/p", "code", "/code"].contains(tag)),
            "{body}: {html}"
        );
    }
}

#[test]
fn code_and_urlencode_do_no_harm_in_an_action() {
    let source = with_action("{{code v}}", "{{base_url}}/{{urlencode v}}");
    let action = render(&source, &payload(json!({ "v": "a b`" }))).unwrap().actions.remove(0);
    assert_eq!(action.label, "a b`");
    assert_eq!(action.url, "https://app.example.com/a%20b%60");
    assert_eq!(
        plain("{{code gone}}", &payload(json!({}))).unwrap_err().variable.as_deref(),
        Some("gone")
    );
}

#[test]
fn a_value_within_code_is_refused_with_the_way_out() {
    for body in [
        "`{{x}}`",
        "`` a {{x}} b ``",
        "```\n{{x}}\n```",
        "a\n\n    {{x}}\n",
        "{{#if x}}`{{x}}`{{/if}}",
    ] {
        assert!(refused(body).message.contains("{{code name}}"), "{body}");
    }
    let err = refused("a\n`b` `{{x}}`");
    assert_eq!((err.line, err.column), (2, 6));
    let payload = payload(json!({ "x": "y" }));
    assert_eq!(plain("`a` {{x}} `b{{#if x}}c{{/if}}`", &payload).unwrap(), "a y bc");
}

#[test]
fn a_link_in_the_text_takes_any_value_as_a_component() {
    let payload = payload(json!({ "w": "spike #7/ä_b_)" }));
    let rendered = render(&source("t", "[x]({{base_url}}/{{urlencode w}}/1)"), &payload).unwrap();
    assert_eq!(
        markdown::to_html(&rendered.body),
        "<p><a href=\"https://app.example.com/spike%20%237%2F%C3%A4_b_%29/1\">x</a></p>"
    );
}

#[test]
fn unescaped_output_is_refused_with_the_reason() {
    for body in ["{{{x}}}", "{{&x}}", "{{~{x}~}}", "{{ {x} }}", "{{& x}}", "{{~&x}}"] {
        let err = refused(body);
        assert!(err.message.contains("unescaped"), "{body}: {err}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (body, word) in [
        ("{{#*inline \"p\"}}x{{/inline}}", "decorators"),
        ("{{#> p}}x{{/p}}", "partials"),
        ("{{* p}}", "decorators"),
        ("{{> (lookup . \"p\")}}", "partials"),
        ("{{{{raw}}}}x{{{{/raw}}}}", "unescaped"),
        ("{{raw x}}", "raw"),
        ("{{log x}}", "log"),
        ("{{#labels}}x{{/labels}}", "{{#if labels}}"),
        ("{{#if (nope 1)}}x{{/if}}", "nope"),
        ("{{date}}", "{{labels.date}}"),
        ("{{#each a}}{{#each b}}{{#each c}}x{{/each}}{{/each}}{{/each}}", "each nests"),
        ("{{x", "}}"),
        ("{{}}", "empty"),
        ("{{x}}{{/if}}", "closes nothing"),
        ("{{#if x}}{{/each}}", "closes {{#if}}"),
        ("{{else if x}}", "outside"),
        ("{{eq x \"a}}\"}}", "string"),
        ("{{eq x {a:1}}}", "brace"),
        ("{{!-- open }}", "--}}"),
        ("a\u{1}b", "control"),
        (r"C:\\{{x}}", "&#92;"),
        (r"{{#if x}}\\{{/if}}", "&#92;"),
    ] {
        let err = refused(body);
        assert!(err.message.contains(word), "{body}: {err}");
        assert!(!err.to_string().contains('\n'));
    }
}

#[test]
fn syntax_that_looks_odd_but_is_right_compiles() {
    let payload = payload(json!({ "n": 1, "it's": "q", "s": "it's" }));
    for (body, text) in [
        ("\\{{n}} {{n}}", "{{n}} 1"),
        ("{{!-- {{#if}} --}}{{n}}{{! {{#if }}", "1"),
        ("{{! -- a }} b --}}{{n}}", "1"),
        ("{{~ n ~}}", "1"),
        ("{{#if (eq s \"it's\")}}y{{else}}n{{/if}}", "y"),
        ("{{#if (eq n 2)}}a{{else if (eq n 1)}}b{{else}}c{{/if}}", "b"),
        ("{{#unless n}}a{{^}}b{{/unless}}", "b"),
        ("{{#if (and n (not (or (gt n 1) (lt n 1))))}}y{{/if}}", "y"),
        ("{{lookup labels \"it's\"}}", "q"),
        ("{{#with labels}}{{n}} {{app_name}}{{/with}}", "1 Acme & Co"),
        ("{{current_year}} {{base_url}}/x", "2026 https://app.example.com/x"),
    ] {
        assert_eq!(plain(body, &payload).unwrap_or_else(|err| panic!("{err}")), text, "{body}");
    }
}

#[test]
fn loops_print_keys_positions_and_outer_values_in_key_order() {
    let payload = json!({ "labels": {}, "data": { "b": [1, 2], "a": [3] }, "user_id": "u" });
    let body = "{{#each data as |list name|}}{{name}}{{@index}}{{@first}}{{@last}}:\
                {{#each list}}{{this}}{{@root.user_id}}{{@index}},{{/each}};{{/each}}";
    assert_eq!(plain(body, &payload).unwrap(), "a0truefalse:3u0,;b1falsetrue:1u0,2u1,;");
    let up = "{{#each data}}{{#each this}}{{../../user_id}}{{/each}}{{/each}}";
    assert_eq!(plain(up, &payload).unwrap(), "uuu");
    assert_eq!(plain("{{#each (lookup data \"b\")}}{{this}}{{/each}}", &payload).unwrap(), "12");
    assert_eq!(
        plain("{{#each (lookup data \"b\") as |v|}}{{v}}{{/each}}", &payload).unwrap(),
        "12"
    );
}

#[test]
fn dates_are_printed_and_a_null_date_is_empty() {
    let payload =
        payload(json!({ "at": "2026-07-01T12:00:00Z", "none": null, "n": 1, "x": "soon" }));
    let body = "{{date at \"%H:%M\" tz=\"Europe/Berlin\"}} {{date at}} {{date at format=\"%Y\"}}[{{date none}}]";
    assert_eq!(plain(body, &payload).unwrap(), "14:00 2026-07-01 12:00 UTC 2026[]");
    for (body, word) in
        [("{{date n}}", "string"), ("{{date x}}", "RFC 3339"), ("{{date gone}}", "date")]
    {
        let err = plain(body, &payload).unwrap_err();
        assert!(err.message.contains(word), "{err}");
    }
}

#[test]
fn nesting_and_size_have_limits_that_come_before_the_stack_ends() {
    let nested = |n: usize| format!("{}x{}", "{{#if user_id}}".repeat(n), "{{/if}}".repeat(n));
    assert_eq!(plain(&nested(16), &payload(json!({}))).unwrap(), "x");
    assert!(refused(&nested(17)).message.contains("deeper"));
    let chain = |n: usize| format!("{{{{#if a}}}}{}{{{{/if}}}}", "{{else if a}}b".repeat(n));
    assert_eq!(plain(&chain(15), &payload(json!({}))).unwrap(), "");
    assert!(refused(&chain(16)).message.contains("deeper"));
    assert!(
        refused(&format!("{{{{eq {}1{}}}}}", "(not ".repeat(17), ")".repeat(17)))
            .message
            .contains("parentheses")
    );
    assert!(refused(&"x".repeat(16 * 1024 + 1)).message.contains("16 KiB"));
    assert!(refused(&"{{a}}".repeat(501)).message.contains("500"));
    // Nesting that hides its closing tags from a naive reader.
    let hiding = [
        "{{!-- {{/if}} --}}",
        "{{! -- }}{{/if}} --}}",
        "\\{{/if}}",
        "\\{{{{/if}}",
        "{{!--}}{{/if}}--}}",
        "{{[a}}{{/if}}]}}",
        "{{eq 1 \"}}{{/if}}\"}}",
    ];
    for hidden in hiding {
        let body = format!(
            "{}{}",
            format!("{{{{#if user_id}}}}{hidden}").repeat(17),
            "{{/if}}".repeat(17)
        );
        let message = refused(&body).message;
        assert!(message.contains("deeper") || message.contains("closing"), "{hidden}: {message}");
    }
}

#[test]
fn too_many_actions_are_refused() {
    let mut source = with_action("a", "https://example.com");
    source.actions = vec![source.actions[0].clone(); 11];
    let err = Template::compile(&source).map(|_| ()).unwrap_err();
    assert!(err.message.contains("at most 10"), "{err}");
}

#[test]
fn templates_that_are_hard_to_read_compile_quickly_or_are_refused() {
    let worst = [
        "{{a}}".repeat(500) + &"x".repeat(16 * 1024 - 2500),
        "{{a}} xxxxxxxxxxxxxxxxxxxxxxxxxx".repeat(500),
        format!("{{{{or {}}}}}", "a ".repeat(12)).repeat(500),
        "{{#if a}}{{a}}{{/if}}xxxxxxxxxxxxx".repeat(166),
        "\\".repeat(16 * 1024),
        "[".repeat(16 * 1024),
        "\\{{".repeat(5461),
    ];
    for body in worst {
        let started = Instant::now();
        let _either_way = Template::compile(&source("t", &body));
        // 100 ms when optimised; this build is not, and other tests run beside it.
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:.20}: {:?}",
            body,
            started.elapsed()
        );
    }
}

#[test]
fn output_and_loops_are_bounded() {
    let rows: Vec<Value> = (0..300).map(Value::from).collect();
    let payload = json!({ "labels": {}, "data": rows });
    let err = plain("{{#each data}}{{#each @root.data}}{{/each}}{{/each}}", &payload).unwrap();
    assert_eq!(err, "");
    let body = "{{#each data}}{{#each @root.data}}{{#if this}}{{#if this}}{{/if}}{{/if}}\
                {{/each}}{{/each}}";
    assert!(plain(body, &payload).unwrap_err().message.contains("too much work"));
    let long = json!({ "labels": { "x": "y".repeat(200_000) } });
    assert!(plain("{{x}}{{x}}", &long).unwrap_err().message.contains("256 KiB"));
}

#[test]
fn an_action_url_takes_values_as_components_and_only_web_schemes() {
    let payload = payload(json!({ "w": "my ws/../x?y#z", "js": "javascript:alert(1)",
                                  "url": "https://example.com/a?b=c&d", "who": "ann@example.com" }));
    let url = |template: &str| {
        render(&with_action("Go", template), &payload)
            .map(|rendered| rendered.actions[0].url.clone())
    };
    assert_eq!(
        url("{{base_url}}/@{{w}}").unwrap(),
        "https://app.example.com/@my%20ws%2F..%2Fx%3Fy%23z"
    );
    assert_eq!(url("{{url}}").unwrap(), "https://example.com/a?b=c&d");
    assert_eq!(url(" {{url}}\n").unwrap(), "https://example.com/a?b=c&d");
    assert_eq!(url("mailto:{{who}}").unwrap(), "mailto:ann@example.com");
    for template in
        ["{{js}}", "javascript:{{who}}", "/x", "{{w}}", "{{#if gone}}https://example.com{{/if}}"]
    {
        let err = url(template).expect_err(template);
        assert_eq!(err.part, "actions[0].url", "{template}");
        assert!(!err.to_string().contains("alert"), "{err}");
    }
}

#[test]
fn an_action_label_is_one_plain_line_and_never_empty() {
    let payload = payload(json!({ "v": " <b>*x*</b>\r\n\u{202e}& ", "e": "" }));
    let label = |template: &str| {
        let source = with_action(template, "https://example.com/");
        render(&source, &payload).unwrap().actions[0].label.clone()
    };
    assert_eq!(label("Open {{v}}"), "Open  <b>*x*</b> &");
    assert_eq!(label("{{e}}"), "https://example.com/");
}

#[test]
fn a_missing_base_url_is_the_setting_s_fault() {
    let source = with_action("Go", "{{base_url}}/x");
    let template = Template::compile(&source).unwrap();
    let branding = BrandingConfig::default();
    let payload = Payload::from(payload(json!({})));
    let document = payload.read().unwrap();
    let context = Context { payload: &document, branding: &branding, year: 2026 };
    let err = template.render(&context, Instant::now() + TIME_MAX).unwrap_err();
    assert_eq!(err.kind, RenderErrorKind::Setting("branding.base_url"));
    assert!(err.message.contains("branding.base_url"), "{err}");
}

/// A template of this body on its own, for its error and how long it took.
fn timed(body: &str, payload: &Value) -> (Result<String, RenderError>, Duration) {
    let started = Instant::now();
    (plain(body, payload), started.elapsed())
}

#[test]
fn looking_values_up_in_a_loop_takes_a_time_that_grows_with_the_text_alone() {
    let names: serde_json::Map<_, _> =
        (0..6000).map(|n| (format!("id-{n}"), format!("name of {n:05}").into())).collect();
    let items: Vec<Value> = names.keys().map(|id| id.as_str().into()).collect();
    let data = json!({"names": names, "items": items, "t": "x".repeat(480_000), "n": 1});
    let payload = json!({"labels": {}, "data": data});
    let body = "{{#each data.items}}{{lookup (lookup ../data \"names\") this}} {{/each}}";
    let (text, took) = timed(body, &payload);
    assert_eq!(text.unwrap().matches("name of ").count(), 6000);
    // Under 50 ms when optimised; a copy of the map for each element takes 100 times as long.
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (text, took) =
        timed("{{#each data.items}}{{#if (lookup ../data \"t\")}}x{{/if}}{{/each}}", &payload);
    assert_eq!(text.unwrap().len(), 6000);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn comparing_long_values_again_and_again_ends_in_an_error() {
    let long = "x".repeat(200_000);
    let deep = json!([[long.clone()]]);
    let data = json!({"l": vec![1; 5000], "a": long, "b": long, "d": deep, "e": deep});
    let payload = json!({"labels": {}, "data": data});
    for call in ["eq ../data.a ../data.b", "lt ../data.a ../data.b", "eq ../data.d ../data.e"] {
        let body = format!("{{{{#each data.l}}}}{{{{#if ({call})}}}}x{{{{/if}}}}{{{{/each}}}}");
        let (text, took) = timed(&body, &payload);
        let err = text.unwrap_err();
        assert!(err.message.contains("too much work"), "{call}: {err}");
        assert_eq!(err.kind, RenderErrorKind::Data);
        assert!(took < Duration::from_secs(2), "{call}: {took:?}");
    }
}

#[test]
fn a_render_ends_soon_after_its_deadline_and_may_be_tried_again() {
    let payload = Payload::from(json!({"labels": {"x": "y"}, "data": vec![1; 10_000]}));
    let document = payload.read().unwrap();
    let context = Context { payload: &document, branding: &branding(), year: 2026 };
    let body = "{{#each data}}{{#if (eq this 2)}}a{{else if (eq this 3)}}b{{/if}}{{/each}}";
    for (body, limit) in [(body, Duration::from_millis(1)), ("{{x}}", Duration::ZERO)] {
        let template = Template::compile(&source("t", body)).unwrap();
        let deadline = Instant::now() + limit;
        let err = template.render(&context, deadline).unwrap_err();
        let late = deadline.elapsed();
        assert_eq!(err.kind, RenderErrorKind::Timeout, "{err}");
        assert_eq!(err.failure().code, "render_timeout");
        assert!(matches!(err.failure().verdict, Verdict::Temporary { .. }));
        // Less than a millisecond; the machine may have other things to do.
        assert!(late < Duration::from_secs(1), "{late:?}");
    }
}

#[test]
fn lists_and_objects_are_written_as_json_wherever_they_land() {
    let object = r#"{"a":{"b":[1,0.10,"x"]}}"#;
    let labels: Value =
        serde_json::from_str(&format!(r#"{{"o": {object}, "l": [1, null]}}"#)).unwrap();
    let payload = payload(labels);
    assert_eq!(plain("{{o}}", &payload).unwrap(), object);
    assert_eq!(plain("{{l}} {{labels.o.a}}", &payload).unwrap(), r#"[1,null] {"b":[1,0.10,"x"]}"#);
    assert_eq!(
        plain("{{#each labels}}{{this}};{{/each}}", &payload).unwrap(),
        format!("[1,null];{object};")
    );
    assert_eq!(
        plain("{{#with o}}{{this}}{{/with}}{{lookup labels \"l\"}}", &payload).unwrap(),
        format!("{object}[1,null]")
    );
    assert_eq!(plain("{{code o}}", &payload).unwrap(), object);
    let action = render(&with_action("Go {{l}}", "https://example.com/{{l}}"), &payload);
    let Action { label, url } = action.unwrap().actions.remove(0);
    assert_eq!((&*label, &*url), ("Go [1,null]", "https://example.com/%5B1%2Cnull%5D"));
}

#[test]
fn numbers_compare_by_all_their_digits() {
    let labels =
        r#"{"a": 9007199254740993, "b": 9007199254740992, "huge": 1e400, "c": 0.10, "zero": 0.0}"#;
    let payload = payload(serde_json::from_str::<Value>(labels).unwrap());
    for (condition, holds) in [
        ("eq a b", false),
        ("gt a b", true),
        ("gt huge a", true),
        ("eq c 0.1", true),
        ("lt c \"0.2\"", true),
        ("and huge", true),
        ("not zero", true),
        ("eq a \"9007199254740993\"", false),
    ] {
        let body = format!("{{{{#if ({condition})}}}}y{{{{else}}}}n{{{{/if}}}}");
        assert_eq!(plain(&body, &payload).unwrap() == "y", holds, "{condition}");
    }
}

#[test]
fn a_name_that_serde_json_keeps_to_itself_renders_as_any_other() {
    for inner in ["\"[1, 2]\"", "\"12\"", "\"no number\"", "[1]"] {
        for name in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
            let text =
                format!(r#"{{"labels": {{"{name}": {inner}}}, "data": {{"{name}": {inner}}}}}"#);
            let document = crate::payload::Value::read(&text).unwrap();
            let context = Context { payload: &document, branding: &branding(), year: 2026 };
            let body = format!(
                "{{{{#each data}}}}{{{{@key}}}}={{{{this}}}}{{{{/each}}}} {{{{labels.[{name}]}}}}"
            );
            let template = Template::compile(&source("t", &body)).unwrap();
            let rendered = template.render(&context, Instant::now() + TIME_MAX).unwrap();
            let inner = inner.trim_matches('"');
            assert_eq!(markdown::to_plain(&rendered.body), format!("{name}={inner} {inner}"));
        }
    }
}

#[test]
fn an_unknown_name_after_else_is_refused_as_anywhere() {
    for body in ["{{#if a}}x{{else nope b}}y{{/if}}", "{{#if a}}x{{else if (nope b)}}y{{/if}}"] {
        assert!(refused(body).message.contains("nope"), "{body}");
    }
}

#[test]
fn text_in_many_lists_is_read_in_a_time_that_grows_with_its_length() {
    let payload = json!({"labels": {}, "data": [1, 2, 3, 4]});
    let deep = format!("{{{{#each data}}}}{}{{{{/each}}}}x", "- ".repeat(7500));
    let started = Instant::now();
    let rendered = render(&source("t", &deep), &payload).unwrap();
    let (text, html) = (markdown::to_plain(&rendered.body), markdown::to_html(&rendered.body));
    assert!(text.ends_with('x') && text.len() < 2_000_000 && html.len() < 1_000_000);
    // Lines that repeat none of the marks before them cost a look at each list around them.
    let lazy =
        format!("{}x\n{{{{#each data}}}}{}{{{{/each}}}}", "- ".repeat(3000), "y\n".repeat(2000));
    let err = render(&source("t", &lazy), &payload).unwrap_err();
    assert!(err.message.contains("nest too deep"), "{err}");
    let took = started.elapsed();
    // A tenth of a second when optimised; half a minute before.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn code_after_code_takes_a_time_that_grows_with_its_length() {
    let payload = json!({"labels": {}, "data": vec![1; 19_000]});
    let (text, took) = timed("{{#each data}}{{code this}} {{/each}}", &payload);
    assert_eq!(text.unwrap().len(), 2 * 19_000 - 1);
    // Ten milliseconds when optimised; each pair of them was compared before.
    assert!(took < Duration::from_secs(1), "{took:?}");
}
