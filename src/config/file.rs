//! The settings file: TOML, nested tables or dotted keys.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Faults;
use super::keys::{self, KEYS};
use super::load::{Found, Origin};
use super::value::Given;

/// Longest file that is read, in octets.
const FILE_MAX: u64 = 1024 * 1024;

/// Reads the file into `found`. Parse errors are told by line alone, for the text of a line may
/// hold a password.
pub(super) fn read(path: &Path, found: &mut Found, faults: &mut Faults) {
    let mut text = String::new();
    let opened = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text));
    if let Err(error) = opened {
        faults.stray(format!("settings file {}: {error}", path.display()));
        return;
    }
    let mut reader = Reader { path, text: &text, found, faults };
    match DeTable::parse(&text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(error) => {
            let line = reader.line(error.span().unwrap_or_default());
            let place = path.display();
            let line = format!("{place}:{line}: not TOML: {}", error.message());
            reader.faults.stray(line);
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    found: &'a mut Found,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    /// Takes in a table whose keys all start with `group`. The parser limits the depth.
    fn table(&mut self, group: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{group}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&format!("{name}."), inner),
                _ => self.setting(&name, key.span(), value),
            }
        }
    }

    fn setting(&mut self, name: &str, at: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let line = self.line(at);
        let place = format!("{}:{line}", self.path.display());
        let Some(key) = keys::find(name) else {
            let names = KEYS.iter().map(|key| key.name.to_owned());
            let hint = keys::suggestion(name, names);
            self.faults.stray(format!("{place}: unknown key {name:?}{hint}"));
            return;
        };
        match self.given(value) {
            Some(given) => {
                let origin = Origin::File { path: self.path.to_owned(), line };
                self.found.insert(key.name, (given, origin));
            }
            None => self.faults.note(&[key.name], format!("{place}: {name} is a list of tables")),
        }
    }

    fn given(&self, value: &Spanned<DeValue<'_>>) -> Option<Given> {
        match value.get_ref() {
            DeValue::Array(items) => {
                items.iter().map(|item| self.scalar(item)).collect::<Option<_>>().map(Given::Many)
            }
            _ => self.scalar(value).map(Given::One),
        }
    }

    /// A string's text; anything else as the file spells it, less the `_` in a number.
    fn scalar(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => None,
            _ => Some(self.text[value.span()].replace('_', "")),
        }
    }

    /// Number of the line, from 1.
    fn line(&self, at: Range<usize>) -> usize {
        1 + self.text.bytes().take(at.start).filter(|octet| *octet == b'\n').count()
    }
}
