//! What the expressions of a program are worth.

use std::iter::successors;

use super::super::budget::STEP;
use super::super::functions::{self, Function};
use super::super::program::{Expression, Path, Start, Values};
use super::{Run, Scope, Stop};
use crate::payload::Value;

/// What looking for one name costs.
const NAME: usize = STEP / 8;

/// What an expression is worth.
pub(super) enum Worth<'s> {
    /// A value of the payload, of the settings, or of the template.
    Here(&'s Value<'s>),
    /// A value that a helper made.
    Made(Value<'s>),
    Missing,
}

impl<'s> Worth<'s> {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// The value; null where it is missing.
    pub(super) fn value(&self) -> &Value<'s> {
        match self {
            Self::Here(value) => value,
            Self::Made(value) => value,
            Self::Missing => &Value::Null,
        }
    }
}

impl From<bool> for Worth<'_> {
    fn from(value: bool) -> Self {
        Self::Made(Value::Bool(value))
    }
}

impl From<usize> for Worth<'_> {
    fn from(number: usize) -> Self {
        Self::Made(Value::Number(number.to_string().into()))
    }
}

impl<'s> Scope<'s> {
    /// This scope, and those around it.
    fn all(&'s self) -> impl Iterator<Item = &'s Scope<'s>> {
        successors(Some(self), |scope| scope.outer)
    }

    /// A value that a block gave a name.
    fn named(&'s self, name: &str) -> Option<&'s Value<'s>> {
        let mut names = self.all().flat_map(|scope| scope.names).flatten();
        names.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// `@index` and the like.
    fn local(&self, name: &str) -> Worth<'s> {
        match (self.round, name) {
            (Some(round), "index") => round.index.into(),
            (Some(round), "first") => (round.index == 0).into(),
            (Some(round), "last") => round.is_last.into(),
            (Some(round), "key") => round.key.map_or(Worth::Missing, Worth::Here),
            _ => Worth::Missing,
        }
    }
}

impl Run<'_> {
    pub(super) fn worth<'s>(
        &'s self,
        expression: &'s Expression,
        scope: &'s Scope<'s>,
    ) -> Result<Worth<'s>, Stop> {
        match expression {
            Expression::Literal(value) => Ok(Worth::Here(value)),
            Expression::Path(path) => self.path(path, scope),
            Expression::Call(call) => self.call(call.function, &call.values, scope),
        }
    }

    fn path<'s>(&'s self, path: &'s Path, scope: &'s Scope<'s>) -> Result<Worth<'s>, Stop> {
        self.budget.spend(NAME * (1 + path.names.len()))?;
        let (start, names) = match (&path.start, path.names.split_first()) {
            (Start::Local(up), Some((name, _))) => {
                return Ok(scope.all().nth(*up).map_or(Worth::Missing, |it| it.local(name)));
            }
            (Start::This(up), first) => {
                let named = first.and_then(|(name, rest)| Some((scope.named(name)?, rest)));
                // More levels than there are lead nowhere.
                let this = || (scope.all().nth(*up).unwrap_or(scope).this, &*path.names);
                named.unwrap_or_else(this)
            }
            (Start::Root | Start::Local(_), _) => (self.root.this(), &*path.names),
        };
        let mut value = start;
        for name in names {
            match self.member(value, name)? {
                Some(inner) => value = inner,
                None => return Ok(Worth::Missing),
            }
        }
        Ok(Worth::Here(value))
    }

    fn member<'s>(&'s self, of: &'s Value<'s>, name: &str) -> Result<Option<&'s Value<'s>>, Stop> {
        match of {
            Value::List(_, items) => {
                let index: usize = name.parse().map_err(|_| Stop::Index(name.to_owned()))?;
                Ok(items.get(index))
            }
            _ if self.root.is(of) => Ok(self.root.get(name)),
            _ => Ok(of.get(name)),
        }
    }

    pub(super) fn call<'s>(
        &'s self,
        function: Function,
        values: &'s Values,
        scope: &'s Scope<'s>,
    ) -> Result<Worth<'s>, Stop> {
        self.budget.spend(STEP)?;
        let name = function.name();
        let required = |idx: usize| {
            let given = values.listed.get(idx).ok_or(Stop::Argument(name, idx))?;
            match self.worth(given, scope)? {
                Worth::Missing if !self.is_lenient => Err(Stop::Argument(name, idx)),
                worth => Ok(worth),
            }
        };
        match function {
            Function::Global(name) => self.global(name),
            Function::Code | Function::UrlEncode => {
                let escape = self.own_escape(function).unwrap_or(self.place.escape());
                let text = self.escaped(name, values, escape, scope)?;
                Ok(Worth::Made(Value::string(text)))
            }
            Function::Date => self.date(required(0)?.value(), values, scope),
            Function::Lookup => self.lookup(values, scope),
            Function::Len => Ok(required(0)?.value().len().into()),
            Function::Not => Ok((!required(0)?.value().is_true(false)).into()),
            Function::Compare(comparison) => {
                let (a, b) = (required(0)?, required(1)?);
                self.budget.spend(a.value().size() + b.value().size())?;
                Ok(comparison.holds(a.value(), b.value()).into())
            }
            Function::And => Ok((!self.any(values, scope, false)?).into()),
            Function::Or => Ok(self.any(values, scope, true)?.into()),
        }
    }

    /// Whether one of the values counts as `wanted`.
    fn any(&self, values: &Values, scope: &Scope<'_>, wanted: bool) -> Result<bool, Stop> {
        values.listed.iter().try_fold(false, |found, given| {
            // Each of them has to be there, also where one before it decides.
            Ok((self.worth(given, scope)?.value().is_true(false) == wanted) || found)
        })
    }

    fn global<'s>(&'s self, name: &'static str) -> Result<Worth<'s>, Stop> {
        match self.root.global(name) {
            // An empty address would make each link of the message a dead one.
            Value::Null if name == "base_url" => Err(Stop::Setting("branding.base_url")),
            value => Ok(Worth::Here(value)),
        }
    }

    fn lookup<'s>(&'s self, values: &'s Values, scope: &'s Scope<'s>) -> Result<Worth<'s>, Stop> {
        let given = |idx: usize| {
            self.worth(values.listed.get(idx).ok_or(Stop::Argument("lookup", idx))?, scope)
        };
        let key = given(1)?;
        self.budget.spend(key.value().size())?;
        let found = match given(0)? {
            Worth::Here(of) if self.root.is(of) => {
                key.value().as_str().and_then(|name| self.root.get(name))
            }
            Worth::Here(of) => functions::lookup(of, key.value()),
            // No helper makes a list or an object.
            Worth::Made(_) | Worth::Missing => None,
        };
        match found {
            Some(value) => Ok(Worth::Here(value)),
            None if self.is_lenient => Ok(Worth::Made(Value::Null)),
            None => Err(Stop::Missing(None)),
        }
    }

    fn date<'s>(
        &self,
        value: &Value<'_>,
        values: &Values,
        scope: &Scope<'_>,
    ) -> Result<Worth<'s>, Stop> {
        let listed = values.listed.get(1).map(|it| self.worth(it, scope)).transpose()?;
        let format =
            listed.map_or_else(|| self.named(values, "format", scope), |it| Ok(Some(it)))?;
        let zone = self.named(values, "tz", scope)?;
        let text = |worth: &Option<Worth<'_>>| {
            worth.as_ref().and_then(|it| it.value().as_str().map(str::to_owned))
        };
        let (format, zone) = (text(&format), text(&zone));
        let date = functions::date_of(value, format.as_deref(), zone.as_deref());
        let date = date.map_err(Stop::Refused)?;
        self.budget.spend(date.size())?;
        Ok(Worth::Made(date))
    }

    pub(super) fn named<'s>(
        &'s self,
        values: &'s Values,
        name: &str,
        scope: &'s Scope<'s>,
    ) -> Result<Option<Worth<'s>>, Stop> {
        let given = values.named.iter().find(|(known, _)| known == name);
        given.map(|(_, it)| self.worth(it, scope)).transpose()
    }
}
