//! Reads JSON, within the limits of a document and without trust in it.

use std::borrow::Cow;
use std::ops::Range;

use super::value::Value;
use super::{DEPTH_MAX, PayloadError, VALUES_MAX, number};

type Member<'a> = (Cow<'a, str>, Value<'a>);

/// A text and how far it is read.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, values: 0 }
    }

    /// The value that is the whole text.
    pub(super) fn whole(&mut self) -> Result<Value<'a>, PayloadError> {
        let value = self.value(0)?;
        self.blanks();
        if self.at == self.text.len() { Ok(value) } else { Err(self.fault()) }
    }

    /// Where the value of a member is, if the text is an object that has it.
    pub(super) fn member(&mut self, name: &str) -> Option<Range<usize>> {
        self.blanks();
        self.expect(b'{').ok()?;
        self.blanks();
        while self.peek() == Some(b'"') {
            let key = self.string().ok()?;
            self.blanks();
            self.expect(b':').ok()?;
            self.blanks();
            let start = self.at;
            self.skip().ok()?;
            if key == name {
                return Some(start..self.at);
            }
            self.blanks();
            self.expect(b',').ok()?;
            self.blanks();
        }
        None
    }

    /// The next value, with `depth` lists and objects around it.
    fn value(&mut self, depth: usize) -> Result<Value<'a>, PayloadError> {
        self.blanks();
        self.values += 1;
        if VALUES_MAX < self.values {
            return Err(PayloadError::Limit("20,000 values"));
        }
        if DEPTH_MAX < depth {
            return Err(PayloadError::Limit("64 levels of lists and objects"));
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.map(depth),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.number().map(|text| Value::Number(text.into())),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, PayloadError> {
        let start = self.at;
        let mut items = Vec::new();
        self.items(b']', |reader| {
            items.push(reader.value(depth + 1)?);
            Ok(())
        })?;
        Ok(Value::List(&self.text[start..self.at], items.into()))
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, PayloadError> {
        let start = self.at;
        let mut members: Vec<Member<'a>> = Vec::new();
        self.items(b'}', |reader| {
            let key = reader.string()?;
            reader.blanks();
            reader.expect(b':')?;
            members.push((key, reader.value(depth + 1)?));
            Ok(())
        })?;
        // Of members with one name the last one counts; the sort keeps their order.
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        members.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Ok(Value::Map(&self.text[start..self.at], members.into()))
    }

    /// Reads what is between brackets, with commas between.
    fn items(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), PayloadError>,
    ) -> Result<(), PayloadError> {
        self.at += 1;
        self.blanks();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blanks();
            item(self)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(it) if it == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.fault()),
            }
        }
    }

    /// Passes the next value, whatever is in it: counts brackets, and does not recurse.
    fn skip(&mut self) -> Result<(), PayloadError> {
        let mut open = 0_usize;
        loop {
            self.blanks();
            match self.peek() {
                Some(b'"') => drop(self.raw_string()?),
                Some(b'[' | b'{') => {
                    open += 1;
                    self.at += 1;
                }
                Some(b']' | b'}') => {
                    open = open.checked_sub(1).ok_or_else(|| self.fault())?;
                    self.at += 1;
                }
                Some(b',' | b':') if 0 < open => self.at += 1,
                Some(b't' | b'n') => self.at += 4,
                Some(b'f') => self.at += 5,
                _ => drop(self.number()?),
            }
            if open == 0 {
                return if self.text.is_char_boundary(self.at) {
                    Ok(())
                } else {
                    Err(self.fault())
                };
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, PayloadError> {
        let raw = self.raw_string()?;
        let inner = &raw[1..raw.len() - 1];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str::<String>(raw).map(Cow::Owned).map_err(|_| self.fault())
    }

    /// The next string with its quotes.
    fn raw_string(&mut self) -> Result<&'a str, PayloadError> {
        let start = self.at;
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let stop = rest.iter().position(|b| matches!(b, b'"' | b'\\'));
            self.at += stop.ok_or_else(|| self.fault())?;
            if bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.text[start..self.at]);
            }
            // The one after it belongs to it. If it is of several bytes, none of them is a quote.
            self.at += 2;
        }
    }

    fn number(&mut self) -> Result<&'a str, PayloadError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = number::length(rest.as_bytes()).ok_or_else(|| self.fault())?;
        self.at += length;
        Ok(&rest[..length])
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, PayloadError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(value)
    }

    fn expect(&mut self, byte: u8) -> Result<(), PayloadError> {
        if self.peek() != Some(byte) {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self) -> PayloadError {
        PayloadError::Syntax(self.at)
    }
}
