//! Odd values, as SQL expressions: what is large is made by the server, so that the test holds
//! little of it.

use std::fmt::Write;

use fastrand::Rng;

/// Parts of odd texts: controls, directions, what IDNA ignores, marks, quotes, ends of lines.
const PIECES: [&str; 34] = [
    "\u{1}",
    "\u{7f}",
    "\u{9b}",
    "\u{ad}",
    "\u{34f}",
    "\u{200d}",
    "\u{202e}",
    "\u{2028}",
    "\u{2066}",
    "\u{feff}",
    "\u{fffd}",
    "\u{e0001}",
    "\u{10ffff}",
    "e\u{301}",
    "👩‍👩‍👧‍👦",
    "İ",
    "ß",
    "ſ",
    "。",
    "'",
    "\"",
    "\\",
    "\r\n",
    "\r\n.\r\n",
    "\n",
    "\t",
    "<script>",
    "{{x}}",
    "](",
    "@",
    "://",
    "xn--",
    "%00",
    "postrider",
];
/// Keys by which `serde_json` says something to itself.
const PRIVATE: [&str; 2] = ["$serde_json::private::RawValue", "$serde_json::private::Number"];
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "1e131071",
    "-1e131071",
    "1e400",
    "1e-400",
    "0e-16383",
    "1e-16000",
    "9007199254740993",
    "-9223372036854775809",
    "18446744073709551616",
    "1.0",
    "-1e19",
    "1e308",
    "0.1",
    "123456789012345678901234567890.123456789012345678901234567890",
];
/// Bytes around which the limits are.
const SIZES: [u32; 17] = [
    0, 1, 62, 63, 64, 254, 255, 256, 1_024, 1_025, 2_048, 2_049, 65_536, 1_000_000, 1_048_577,
    20_000_000, 50_000_000,
];

/// A literal.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

pub(crate) fn pick<'a, T: ?Sized>(rng: &mut Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// A number of bytes; the largest ones are rare.
pub(crate) fn size(rng: &mut Rng) -> u32 {
    let last = if rng.u8(..8) == 0 { SIZES.len() } else { SIZES.len() - 2 };
    SIZES[rng.usize(..last)]
}

/// A short text of odd characters.
pub(crate) fn odd(rng: &mut Rng) -> String {
    if rng.u8(..12) == 0 {
        return format!("a{}", "\u{301}".repeat(rng.usize(1..500)));
    }
    let mut text = String::new();
    for _ in 0..rng.usize(1..8) {
        text += pick(rng, &PIECES);
        text.push(rng.alphanumeric());
    }
    text
}

/// A text.
pub(crate) fn text(rng: &mut Rng) -> String {
    match rng.u8(..10) {
        0 => "null".into(),
        1 | 2 => format!("repeat('x', {})", size(rng)),
        3 => format!("repeat({}, {})", quote(&odd(rng)), rng.u32(1..20_000)),
        4 => "(select text from public.kept)".into(),
        _ => quote(&odd(rng)),
    }
}

/// A list of texts.
pub(crate) fn list(rng: &mut Rng) -> String {
    let count = [0, 1, 16, 17, 64, 65, 1_000, 500_000][rng.usize(..8)];
    let of = if count < 1_000 { text(rng) } else { "'x'".into() };
    match rng.u8(..9) {
        0 => "null".into(),
        1 => "'{}'".into(),
        2 => format!("array[[{0}, 'b'], ['c', {0}]]", quote(&odd(rng))),
        3 => "'[0:1]={inbox,webhook}'".into(),
        4 => format!("array[{}, null]", quote(&odd(rng))),
        5 => "(select list from public.kept)".into(),
        6 => format!("array_fill(({of})::text, array[{count}])"),
        7 => format!("array_fill({}::text, array[100, {}])", quote(&odd(rng)), rng.u32(1..3_000)),
        _ => format!("array[{}, {}]", quote(&odd(rng)), quote(&odd(rng))),
    }
}

/// A document of any type.
pub(crate) fn json(rng: &mut Rng) -> String {
    let deep = [1, 62, 63, 64, 65, 66, 1_000, 6_000, 200_000][rng.usize(..9)];
    let many = [1, 100, 7_000, 9_990, 19_990, 20_000, 20_001, 400_000][rng.usize(..8)];
    let number = pick(rng, &NUMBERS);
    match rng.u8(..14) {
        0 => "null".into(),
        1 => format!("(repeat('[', {deep}) || repeat(']', {deep}))::jsonb"),
        2 => format!("(repeat('{{\"a\":', {deep}) || '1' || repeat('}}', {deep}))::jsonb"),
        3 => format!("(select jsonb_agg('{number}'::jsonb) from generate_series(1, {many}))"),
        4 => format!("(select jsonb_agg(null::text) from generate_series(1, {many}))"),
        5 => format!(
            "(select jsonb_object_agg({} || g, g) from generate_series(1, {many}) g)",
            quote(&odd(rng))
        ),
        6 => format!("to_jsonb(({})::text)", text(rng)),
        7 => format!("jsonb_build_object('a', {}, 'b', {})", text(rng), text(rng)),
        8 => "(select doc from public.kept)".into(),
        9 => format!("jsonb_build_array(repeat({}, {}))", quote("\u{1}"), size(rng) / 6),
        _ => {
            let mut document = String::new();
            grow(rng, &mut document, 4);
            format!("{}::jsonb", quote(&document))
        }
    }
}

/// Writes a document, now and then one that no parser takes.
pub(crate) fn grow(rng: &mut Rng, to: &mut String, levels: u32) {
    let kinds = if levels == 0 { 5 } else { 9 };
    match rng.u8(..kinds) {
        0 => *to += pick(rng, &NUMBERS),
        1 => *to += pick(rng, &["null", "true", "false", "\"\"", "[]", "{}"]),
        2 => *to += pick(rng, &["\"\\u202e\"", "\"\\ud83d\\ude00\"", "\"\\u0001\"", "\"\\/\""]),
        3 if rng.u8(..10) == 0 => *to += pick(rng, &["\"\\u0000\"", "\"\\ud800\"", "1e", "nul"]),
        3 | 4 => *to += &serde_json::to_string(&odd(rng)).unwrap(),
        5 | 6 => {
            to.push('[');
            for nth in 0..rng.u32(..6) {
                *to += if nth == 0 { "" } else { "," };
                grow(rng, to, levels - 1);
            }
            to.push(']');
        }
        _ => {
            to.push('{');
            for nth in 0..rng.u32(..6) {
                *to += if nth == 0 { "" } else { "," };
                let key = if rng.u8(..3) == 0 { pick(rng, &PRIVATE).into() } else { odd(rng) };
                write!(to, "{}:", serde_json::to_string(&key).unwrap()).unwrap();
                grow(rng, to, levels - 1);
            }
            to.push('}');
        }
    }
}

/// A time.
pub(crate) fn time(rng: &mut Rng) -> String {
    let fixed = [
        "null",
        "'infinity'",
        "'-infinity'",
        "'4713-01-01 BC'",
        "'1969-12-31'",
        "'9999-12-31'",
        "'10000-01-02'",
        "'294276-12-31'",
        "now()",
    ];
    match rng.u8(..3) {
        0 => pick(rng, &fixed).into(),
        1 => format!("now() + interval '{} ms'", rng.u32(1..5_000)),
        _ => format!("now() + interval '{} days'", rng.i32(-4_000..4_000)),
    }
}
