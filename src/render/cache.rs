//! Compiled templates by id and version.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::{Template, TemplateError, TemplateSource};

/// Most templates that are kept.
const ENTRIES_MAX: usize = 1024;

/// Key of a template: a new version is a new template.
type Key = (Uuid, i32);

/// Compiled templates, and why the others did not compile. Bounded: the oldest makes room.
///
/// Belongs to one thread.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Key, Result<Template, TemplateError>>,
    /// Keys of `entries`, oldest first.
    ages: VecDeque<Key>,
}

impl Cache {
    /// The compiled template, from `source` only if it is not here yet.
    ///
    /// # Errors
    ///
    /// As [`Template::compile`]; errors are kept too.
    pub fn get(
        &mut self,
        id: Uuid,
        version: i32,
        source: impl FnOnce() -> TemplateSource,
    ) -> Result<&Template, TemplateError> {
        let key = (id, version);
        if !self.entries.contains_key(&key) {
            self.insert(key, Template::compile(&source()));
        }
        self.entries[&key].as_ref().map_err(Clone::clone)
    }

    fn insert(&mut self, key: Key, compiled: Result<Template, TemplateError>) {
        if self.ages.len() == ENTRIES_MAX
            && let Some(oldest) = self.ages.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.ages.push_back(key);
        self.entries.insert(key, compiled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(title: &str) -> TemplateSource {
        TemplateSource { title: title.into(), ..TemplateSource::default() }
    }

    #[test]
    fn a_template_is_compiled_once_for_each_version() {
        let (mut cache, id) = (Cache::default(), Uuid::from_u128(1));
        cache.get(id, 1, || source("a")).unwrap();
        cache.get(id, 1, || panic!("version 1 is known")).unwrap();
        let mut asked = false;
        cache
            .get(id, 2, || {
                asked = true;
                source("b")
            })
            .unwrap();
        assert!(asked);
    }

    #[test]
    fn an_error_is_kept_too() {
        let (mut cache, id) = (Cache::default(), Uuid::from_u128(1));
        let first = cache.get(id, 1, || source("{{#if}}")).map(|_| ()).unwrap_err();
        let second = cache.get(id, 1, || panic!("version 1 is known")).map(|_| ()).unwrap_err();
        assert_eq!(first, second);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cache = Cache::default();
        for n in 0..=ENTRIES_MAX {
            cache.get(Uuid::from_u128(n as u128), 1, || source("a")).unwrap();
        }
        assert_eq!((cache.entries.len(), cache.ages.len()), (ENTRIES_MAX, ENTRIES_MAX));
        let mut asked = false;
        cache
            .get(Uuid::from_u128(0), 1, || {
                asked = true;
                source("a")
            })
            .unwrap();
        assert!(asked, "the first one had to go");
    }
}
