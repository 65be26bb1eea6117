//! Compiled templates by id and version.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::{Template, TemplateError};

/// Most templates that are kept.
const ENTRIES_MAX: usize = 1024;

/// Key of a template: a new version is a new template.
type Key = (Uuid, i32);

/// Compiled templates, and why the others did not compile. Bounded: the oldest makes room.
///
/// Belongs to one thread.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Key, Result<Arc<Template>, TemplateError>>,
    /// Keys of `entries`, oldest first.
    ages: VecDeque<Key>,
}

impl Cache {
    /// Whether the template, or why it did not compile, is here.
    pub fn contains(&self, id: Uuid, version: i32) -> bool {
        self.entries.contains_key(&(id, version))
    }

    /// The compiled template, or why it did not compile; `None` if it is not here.
    pub fn get(&self, id: Uuid, version: i32) -> Option<Result<Arc<Template>, &TemplateError>> {
        self.entries.get(&(id, version)).map(|it| it.as_ref().map(Arc::clone))
    }

    /// Keeps what came of compiling a template.
    pub fn insert(&mut self, id: Uuid, version: i32, compiled: Result<Template, TemplateError>) {
        let key = (id, version);
        if self.entries.insert(key, compiled.map(Arc::new)).is_some() {
            return;
        }
        if self.ages.len() == ENTRIES_MAX
            && let Some(oldest) = self.ages.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.ages.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::TemplateSource;

    fn compile(title: &str) -> Result<Template, TemplateError> {
        Template::compile(&TemplateSource { title: title.into(), ..TemplateSource::default() })
    }

    #[test]
    fn each_version_is_kept_and_an_error_too() {
        let (mut cache, id) = (Cache::default(), Uuid::from_u128(1));
        cache.insert(id, 1, compile("a"));
        cache.insert(id, 2, compile("{{#if}}"));
        assert!(cache.get(id, 1).unwrap().is_ok());
        assert!(cache.get(id, 2).unwrap().is_err());
        assert!(cache.get(id, 3).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cache = Cache::default();
        for n in 0..=ENTRIES_MAX {
            cache.insert(Uuid::from_u128(n as u128), 1, compile("a"));
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert!(!cache.contains(Uuid::from_u128(0), 1));
        assert!(cache.contains(Uuid::from_u128(1), 1));
    }
}
