//! A text of a template as it is run: handlebars reads it, and what it may not have is refused
//! here.

use std::borrow::Cow;
use std::sync::LazyLock;

use handlebars::template::{BlockParam, HelperTemplate, Parameter, TemplateElement};
use handlebars::{PathSeg, Template};

use super::check::Fault;
use super::functions::{FUNCTIONS, Function, GLOBALS};
use crate::payload::Value;

/// Deepest nesting of `each`.
const EACH_MAX: usize = 2;
/// Blocks that are no functions.
const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];

/// What is written, in turn.
#[derive(Debug, Default)]
pub(super) struct Program(pub(super) Vec<Node>);

/// A piece of text or a tag, and where it is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Text(String),
    Print(Expression),
    Block(Box<Block>),
}

/// What has a value.
#[derive(Debug)]
pub(super) enum Expression {
    Path(Path),
    Literal(Value<'static>),
    Call(Box<Call>),
}

/// A name as it is written, and the way to its value.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) raw: String,
    pub(super) start: Start,
    pub(super) names: Vec<String>,
}

/// Where a path starts.
#[derive(Debug)]
pub(super) enum Start {
    /// `@root`
    Root,
    /// `@index` and the like, of the scope that is so many levels up.
    Local(usize),
    /// `this` of the scope that is so many levels up.
    This(usize),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) values: Values,
}

/// What a function or a block is called with.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) listed: Vec<Expression>,
    pub(super) named: Vec<(String, Expression)>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) values: Values,
    /// `as |value key|`
    pub(super) names: (Option<String>, Option<String>),
    pub(super) body: Program,
    pub(super) otherwise: Option<Program>,
}

#[derive(Debug)]
pub(super) enum Kind {
    If,
    Unless,
    Each,
    With,
    /// A function whose value decides, as `if` does.
    Condition(Function),
}

impl Program {
    /// What handlebars has read, if it has only what it may.
    pub(super) fn of(template: &Template) -> Result<Self, Fault> {
        program(template, (1, 1), 0)
    }
}

/// `at`: where the tag is that has the template in it, since an `else if` has no place of its own.
fn program(template: &Template, at: (usize, usize), each_depth: usize) -> Result<Program, Fault> {
    let mut nodes = Vec::with_capacity(template.elements.len());
    for (idx, element) in template.elements.iter().enumerate() {
        let at = template.mapping.get(idx).map_or(at, |it| (it.0, it.1));
        let fault = |message| Fault { line: at.0, column: at.1, message };
        let what = match element {
            TemplateElement::RawString(text) => What::Text(text.clone()),
            TemplateElement::Expression(tag) => What::Print(printed(tag).map_err(fault)?),
            TemplateElement::HelperBlock(tag) => What::Block(Box::new(block(tag, at, each_depth)?)),
            TemplateElement::Comment(_) => continue,
            _ => return Err(fault("this kind of tag is not supported".into())),
        };
        nodes.push(Node { line: at.0, column: at.1, what });
    }
    Ok(Program(nodes))
}

fn block(tag: &HelperTemplate, at: (usize, usize), each_depth: usize) -> Result<Block, Fault> {
    let fault = |message| Fault { line: at.0, column: at.1, message };
    let (kind, values) = opening(tag, each_depth).map_err(fault)?;
    let inner = each_depth + usize::from(matches!(kind, Kind::Each));
    let body = tag.template.as_ref().map(|it| program(it, at, inner)).transpose()?;
    let body = body.unwrap_or_default();
    let otherwise = tag.inverse.as_ref().map(|it| program(it, at, each_depth)).transpose()?;
    let name = |it: &Parameter| it.as_name().map(str::to_owned);
    let names = match &tag.block_param {
        Some(BlockParam::Single(value)) => (name(value), None),
        Some(BlockParam::Pair((value, key))) => (name(value), name(key)),
        _ => (None, None),
    };
    Ok(Block { kind, values, names, body, otherwise })
}

fn opening(tag: &HelperTemplate, each_depth: usize) -> Result<(Kind, Values), String> {
    let name = tag.name.as_name().unwrap_or_default();
    let kind = match name {
        "if" => Kind::If,
        "unless" => Kind::Unless,
        "each" => Kind::Each,
        "with" => Kind::With,
        _ => match Function::named(name) {
            Some(function) if function.is_condition() => Kind::Condition(function),
            _ => {
                return Err(format!(
                    "no block is called {name:?}; write {{{{#if {name}}}}}, \
                     {{{{#each {name}}}}} or {{{{#with {name}}}}}"
                ));
            }
        },
    };
    if tag.params.is_empty() {
        return Err(format!("{name} needs a value, as in {{{{#{name} labels.x}}}}"));
    }
    if matches!(kind, Kind::Each) && each_depth == EACH_MAX {
        return Err(format!("each nests deeper than {EACH_MAX}; flatten the data"));
    }
    Ok((kind, values(tag)?))
}

/// A tag that prints.
fn printed(tag: &HelperTemplate) -> Result<Expression, String> {
    let Some(name) = tag.name.as_name() else {
        // `{{(lookup …)}}`
        return expression(&tag.name);
    };
    if !(tag.params.is_empty() && tag.hash.is_empty()) {
        return call(tag);
    }
    if FUNCTIONS.contains(&name) || BLOCKS.contains(&name) {
        return Err(format!(
            "{name} needs values, as in {{{{{name} …}}}}; a label of that name is \
             {{{{labels.{name}}}}}"
        ));
    }
    if GLOBALS.contains(&name) { call(tag) } else { expression(&tag.name) }
}

fn call(tag: &HelperTemplate) -> Result<Expression, String> {
    let name = tag.name.as_name().unwrap_or_default();
    let Some(function) = Function::named(name) else {
        return Err(format!("no helper is called {name:?}; there are {}", FUNCTIONS.join(", ")));
    };
    Ok(Expression::Call(Box::new(Call { function, values: values(tag)? })))
}

fn values(tag: &HelperTemplate) -> Result<Values, String> {
    let listed = tag.params.iter().map(expression).collect::<Result<_, _>>()?;
    let mut named: Vec<_> = tag.hash.iter().collect();
    // So that of two faults the same one is told each time.
    named.sort_unstable_by_key(|(name, _)| *name);
    let named = named.into_iter().map(|(name, value)| Ok((name.clone(), expression(value)?)));
    Ok(Values { listed, named: named.collect::<Result<_, String>>()? })
}

fn expression(parameter: &Parameter) -> Result<Expression, String> {
    match parameter {
        Parameter::Path(path) => Ok(Expression::Path(Path::of(path))),
        Parameter::Literal(value) => literal(value).map(Expression::Literal),
        Parameter::Subexpression(inner) => match inner.as_element() {
            TemplateElement::Expression(tag) => call(tag),
            _ => Err("this kind of tag is not supported".into()),
        },
        Parameter::Name(name) => Ok(Expression::Path(Path {
            raw: name.clone(),
            start: Start::This(0),
            names: vec![name.clone()],
        })),
        _ => Err("this kind of value is not supported".into()),
    }
}

fn literal(value: &serde_json::Value) -> Result<Value<'static>, String> {
    use serde_json::Value as Json;
    match value {
        Json::Null => Ok(Value::Null),
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(number) => Ok(Value::Number(Cow::Owned(number.to_string()))),
        Json::String(text) => Ok(Value::string(text.clone())),
        Json::Array(_) | Json::Object(_) => {
            Err("a list or an object within a tag; put it into the data".into())
        }
    }
}

impl Path {
    fn of(path: &handlebars::Path) -> Self {
        static UP: LazyLock<Option<PathSeg>> = LazyLock::new(|| first_segment("../a"));
        static ROOT: LazyLock<Option<PathSeg>> = LazyLock::new(|| first_segment("@root/a"));
        match path {
            handlebars::Path::Local((level, name, raw)) => {
                Self { raw: raw.clone(), start: Start::Local(*level), names: vec![name.clone()] }
            }
            handlebars::Path::Relative((segments, raw)) => {
                let count = |it: &Option<PathSeg>| {
                    segments.iter().filter(|segment| Some(*segment) == it.as_ref()).count()
                };
                let start = if 0 < count(&ROOT) { Start::Root } else { Start::This(count(&UP)) };
                let name = |segment: &PathSeg| match segment {
                    PathSeg::Named(name) => Some(name.clone()),
                    _ => None,
                };
                Self { raw: raw.clone(), start, names: segments.iter().filter_map(name).collect() }
            }
        }
    }
}

/// What handlebars makes of `..` and `@root`: it keeps the names of these kinds to itself.
fn first_segment(path: &str) -> Option<PathSeg> {
    match handlebars::Path::parse(path) {
        Ok(handlebars::Path::Relative((segments, _))) => segments.into_iter().next(),
        _ => None,
    }
}
