//! A program against the library that reads it: both write the same text.

use std::time::Instant;

use handlebars::{Handlebars, no_escape};
use serde_json::json;

use super::super::escape::Place;
use super::super::part::Part;
use super::super::{Context, TIME_MAX};
use super::*;
use crate::config::BrandingConfig;
use crate::payload::Payload;

/// Pieces of templates. Values are words and numbers, which no escaping changes.
const PIECES: &str = "\
    x¦ ¦\n¦{{a}}¦{{n}}¦{{m.k}}¦{{this.a}}¦{{./n}}¦{{gone}}¦{{zero}}¦{{nothing}}¦{{list.0}}\
    ¦{{list.9}}¦{{list.a}}¦{{#if a}}¦{{#if gone}}¦{{#if zero includeZero=true}}¦{{else}}\
    ¦{{else if n}}¦{{/if}}¦{{#unless zero}}¦{{/unless}}¦{{#each list}}¦{{#each m}}\
    ¦{{#each rows as |row key|}}¦{{#each rows}}¦{{#each gone}}¦{{/each}}¦{{@index}}¦{{@key}}\
    ¦{{@first}}¦{{@last}}¦{{@../index}}¦{{this}}¦{{../a}}¦{{../../n}}¦{{../this.a}}\
    ¦{{@root.a}}¦{{row.k}}¦{{key}}¦{{k}}¦{{#with m}}¦{{#with m as |it|}}¦{{it.k}}\
    ¦{{#with nothing}}¦{{/with}}¦{{lookup m \"k\"}}¦{{lookup list 1}}¦{{lookup list @index}}\
    ¦{{lookup (lookup rows 0) \"k\"}}¦{{len list}}¦{{len a}}¦{{(lookup m \"k\")}}\
    ¦{{#if (eq n 1)}}¦{{#if (and a (not zero))}}¦{{#if (gt n zero)}}¦{{#eq a \"word\"}}\
    ¦{{/eq}}¦{{eq a gone}}¦{{or gone n}}¦{{lte n \"2\"}}¦{{~a~}}";

#[test]
fn it_writes_what_handlebars_writes() {
    let pieces: Vec<&str> = PIECES.split('¦').collect();
    let data = json!({
        "a": "word", "n": 1, "zero": 0, "nothing": null, "list": ["p", 2, true],
        "m": {"k": "v", "a": 5, "l": "w"}, "rows": [{"k": "r", "n": 3}, {"k": "s", "a": false}],
    });
    let payload = Payload::from(data.clone());
    let document = payload.read().unwrap();
    let branding = BrandingConfig::default();
    let context = Context { payload: &document, branding: &branding, year: 2026 };
    let (root, soon) = (Root::new(context), Instant::now() + TIME_MAX * 100);
    let mut theirs = Handlebars::new();
    theirs.set_strict_mode(true);
    theirs.register_escape_fn(no_escape);
    let mut random = fastrand::Rng::with_seed(11);
    let (mut written, mut refused) = (0, 0);
    for _ in 0..8_000 {
        let count = random.usize(1..9);
        let mut source: String = (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect();
        close(&mut source);
        let Ok(part) = Part::compile("t".into(), &source, Place::Label) else { continue };
        let theirs = theirs.render_template(&source, &data);
        // They write lists and objects in a form of their own.
        if theirs.as_ref().is_ok_and(|text| text.contains('[')) {
            continue;
        }
        let ours = part.render(&root, &Budget::until(soon));
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) => {
                assert_eq!(escape::line(theirs.trim()), escape::line(ours), "{source:?}");
                written += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            _ => panic!("{source:?}: {theirs:?} {ours:?}"),
        }
    }
    assert!(1000 < written && 100 < refused, "{written} {refused}");
}

/// Closes the blocks that a text leaves open.
fn close(source: &mut String) {
    let mut open = Vec::new();
    for tag in source.split("{{").skip(1) {
        match tag.as_bytes()[0] {
            b'#' => {
                let end = tag.find([' ', '}']).unwrap();
                open.push(tag[1..end].to_owned());
            }
            b'/' => drop(open.pop()),
            _ => (),
        }
    }
    for name in open.into_iter().rev() {
        source.push_str("{{/");
        source.push_str(&name);
        source.push_str("}}");
    }
}
