//! Runs a program: the text that it writes for one message.
//!
//! Values are borrowed from the payload. Each step is charged to the budget before it is made, and
//! each value that is looked at by its size, so that work which grows faster than the text and the
//! data ends in an error.

mod worth;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::budget::{Budget, STEP, Spent};
use super::escape::{self, Place};
use super::functions::Function;
use super::program::{Block, Expression, Kind, Node, Program, Values, What};
use super::root::Root;
use crate::payload::Value;
use worth::Worth;

/// Longest output of one part, in bytes.
pub(super) const OUTPUT_MAX: usize = 256 * 1024;

/// Why a program does not write its text.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing has the name.
    Missing(Option<String>),
    /// The helper has no value with the number, from 0.
    Argument(&'static str, usize),
    /// A name where a list wants a number.
    Index(String),
    /// A setting is missing.
    Setting(&'static str),
    /// A helper cannot use a value.
    Refused(String),
    /// The text is longer than [`OUTPUT_MAX`].
    TooLong,
    Spent(Spent),
}

impl From<Spent> for Stop {
    fn from(spent: Spent) -> Self {
        Self::Spent(spent)
    }
}

/// A stop, and the line and column of the tag where it happened.
pub(super) type Stopped = (Stop, usize, usize);

/// What all of a run has in common.
pub(super) struct Run<'a> {
    pub(super) root: &'a Root<'a>,
    pub(super) budget: &'a Budget,
    pub(super) place: Place,
    /// Whether a missing value is an empty one.
    pub(super) is_lenient: bool,
}

/// What names mean within a block.
struct Scope<'s> {
    this: &'s Value<'s>,
    outer: Option<&'s Scope<'s>>,
    /// Names that the block gives to its values.
    names: [Option<(&'s str, &'s Value<'s>)>; 2],
    round: Option<Round<'s>>,
}

/// Where a loop is.
#[derive(Clone, Copy)]
struct Round<'s> {
    index: usize,
    is_last: bool,
    key: Option<&'s Value<'s>>,
}

impl Run<'_> {
    /// The text of a program.
    pub(super) fn text(&self, program: &Program) -> Result<String, Stopped> {
        let mut out = String::new();
        let scope = Scope { this: self.root.this(), outer: None, names: [None, None], round: None };
        self.program(program, &scope, &mut out)?;
        Ok(out)
    }

    fn program(
        &self,
        program: &Program,
        scope: &Scope<'_>,
        out: &mut String,
    ) -> Result<(), Stopped> {
        for Node { line, column, what } in &program.0 {
            let here = |stop: Stop| (stop, *line, *column);
            self.budget.spend(STEP).map_err(|spent| here(spent.into()))?;
            match what {
                What::Text(text) => self.write(text, out).map_err(here)?,
                What::Print(printed) => self.print(printed, scope, out).map_err(here)?,
                What::Block(block) => self.block(block, scope, out, &here)?,
            }
        }
        Ok(())
    }

    fn write(&self, text: &str, out: &mut String) -> Result<(), Stop> {
        if OUTPUT_MAX < out.len() + text.len() {
            return Err(Stop::TooLong);
        }
        self.budget.spend(text.len())?;
        out.push_str(text);
        Ok(())
    }

    fn print(&self, printed: &Expression, scope: &Scope<'_>, out: &mut String) -> Result<(), Stop> {
        if let Expression::Call(call) = printed
            && let Some(escape) = self.own_escape(call.function)
        {
            let text = self.escaped(call.function.name(), &call.values, escape, scope)?;
            return self.write(&text, out);
        }
        let worth = self.worth(printed, scope)?;
        if worth.is_missing() && !self.is_lenient {
            return Err(Stop::Missing(name_of(printed)));
        }
        let value = worth.value();
        let text = self.affordable(value)?;
        let is_document = matches!(value, Value::List(..) | Value::Map(..));
        if is_document && self.place == Place::Json {
            return self.write(&escape::json_document(&text), out);
        }
        self.write(&self.place.escape()(&text), out)
    }

    /// How a helper writes its value, if not as the place does.
    fn own_escape(&self, function: Function) -> Option<fn(&str) -> String> {
        match (function, self.place) {
            (Function::Code, Place::Markdown) => Some(escape::code_value),
            (Function::UrlEncode, Place::Markdown) => Some(escape::markdown_url_component),
            // Only Markdown has code, and a URL is encoded anyway.
            (Function::Code | Function::UrlEncode, place) => Some(place.escape()),
            _ => None,
        }
    }

    fn escaped(
        &self,
        name: &'static str,
        values: &Values,
        escape: fn(&str) -> String,
        scope: &Scope<'_>,
    ) -> Result<String, Stop> {
        let first = values.listed.first().ok_or(Stop::Argument(name, 0))?;
        let worth = self.worth(first, scope)?;
        if worth.is_missing() && !self.is_lenient {
            return Err(Stop::Missing(name_of(first)));
        }
        Ok(escape(&self.affordable(worth.value())?))
    }

    /// The text of a value, if it can be written at all.
    fn affordable<'v>(&self, value: &'v Value<'_>) -> Result<Cow<'v, str>, Stop> {
        let text = value.text();
        if OUTPUT_MAX < text.len() {
            return Err(Stop::TooLong);
        }
        self.budget.spend(text.len())?;
        Ok(text)
    }

    fn block(
        &self,
        block: &Block,
        scope: &Scope<'_>,
        out: &mut String,
        here: &dyn Fn(Stop) -> Stopped,
    ) -> Result<(), Stopped> {
        let first = || {
            let first = block.values.listed.first().ok_or(Stop::Argument("block", 0))?;
            self.worth(first, scope)
        };
        let holds = match block.kind {
            Kind::Each => return self.each(block, &first().map_err(here)?, scope, (out, here)),
            Kind::With => return self.with(block, &first().map_err(here)?, scope, (out, here)),
            Kind::If | Kind::Unless => {
                let zero = self.named(&block.values, "includeZero", scope).map_err(here)?;
                let zero = zero.is_some_and(|it| matches!(it.value(), Value::Bool(true)));
                let value = first().map_err(here)?.value().is_true(zero);
                value == matches!(block.kind, Kind::If)
            }
            Kind::Condition(function) => {
                let worth = self.call(function, &block.values, scope).map_err(here)?;
                worth.value().is_true(false)
            }
        };
        let chosen = if holds { Some(&block.body) } else { block.otherwise.as_ref() };
        chosen.map_or(Ok(()), |program| self.program(program, scope, out))
    }

    fn with(
        &self,
        block: &Block,
        worth: &Worth<'_>,
        scope: &Scope<'_>,
        (out, here): (&mut String, &dyn Fn(Stop) -> Stopped),
    ) -> Result<(), Stopped> {
        let value = worth.value();
        if value.is_true(false) {
            let name = block.names.0.as_deref().map(|name| (name, value));
            let round = scope.round;
            let inner = Scope { this: value, outer: Some(scope), names: [name, None], round };
            return self.program(&block.body, &inner, out);
        }
        match &block.otherwise {
            Some(program) => self.program(program, scope, out),
            None if self.is_lenient => Ok(()),
            None => Err(here(Stop::Missing(block.values.listed.first().and_then(name_of)))),
        }
    }

    fn each(
        &self,
        block: &Block,
        worth: &Worth<'_>,
        scope: &Scope<'_>,
        (out, here): (&mut String, &dyn Fn(Stop) -> Stopped),
    ) -> Result<(), Stopped> {
        let value = worth.value();
        let is_empty = match value {
            Value::List(..) | Value::Map(..) => value.len() == 0,
            _ if block.otherwise.is_some() => true,
            _ => {
                let name = block.values.listed.first().and_then(name_of);
                return Err(here(Stop::Missing(name)));
            }
        };
        if is_empty {
            let program = block.otherwise.as_ref();
            return program.map_or(Ok(()), |program| self.program(program, scope, out));
        }
        let all = self.root.is(value).then(|| self.root.members());
        let count = all.as_ref().map_or(value.len(), BTreeMap::len);
        let mut round = |index: usize, key: Option<&Value<'_>>, item: &Value<'_>| {
            self.budget.spend(STEP).map_err(|spent| here(spent.into()))?;
            let position = Value::Number(index.to_string().into());
            let names = [
                block.names.0.as_deref().map(|name| (name, item)),
                block.names.1.as_deref().map(|name| (name, key.unwrap_or(&position))),
            ];
            let round = Some(Round { index, is_last: index + 1 == count, key });
            let inner = Scope { this: item, outer: Some(scope), names, round };
            self.program(&block.body, &inner, out)
        };
        match value {
            Value::List(_, items) => {
                items.iter().enumerate().try_for_each(|(idx, item)| round(idx, None, item))
            }
            Value::Map(_, members) => {
                let members = members.iter().map(|(key, item)| (key.as_ref(), item));
                let members = all.map_or_else(|| members.collect(), Vec::from_iter);
                members
                    .into_iter()
                    .enumerate()
                    .try_for_each(|(idx, (key, item))| round(idx, Some(&Value::string(key)), item))
            }
            _ => Ok(()),
        }
    }
}

/// A name as the template writes it, for an error.
fn name_of(expression: &Expression) -> Option<String> {
    if let Expression::Path(path) = expression { Some(path.raw.clone()) } else { None }
}
