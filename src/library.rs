//! What messages are prepared with: compiled templates and settings of endpoints, kept by version.

use std::collections::HashMap;
use std::panic;
use std::sync::Arc;

use uuid::Uuid;

use crate::endpoint::EndpointSettings;
use crate::lease::Message;
use crate::outcome::Failure;
use crate::render::{Cache, Template, TemplateError};
use crate::store::{Store, StoreError};

/// Most endpoints that are kept.
const ENDPOINTS_MAX: usize = 1024;

/// Finds what a message refers to, and reads from the store what it does not know yet.
#[derive(Default)]
pub(crate) struct Library {
    templates: Cache,
    /// Endpoints by name, each of the version that was asked for last.
    endpoints: HashMap<String, Arc<EndpointSettings>>,
}

/// What a message refers to.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) template: Arc<Template>,
    pub(crate) endpoint: Option<Arc<EndpointSettings>>,
}

impl Parts {
    /// The URL that `message` goes to, where it or its template names one.
    pub(crate) fn url<'a>(&'a self, message: &'a Message) -> Option<&'a str> {
        let named = self.endpoint.as_ref().map(|endpoint| endpoint.url.as_str());
        named.or(message.endpoint.as_deref())
    }
}

/// Why a message cannot be prepared.
#[derive(Debug)]
pub(crate) enum Missing {
    /// It is the message's fault, or its template's or endpoint's.
    Failed(Failure),
    /// The store did not answer.
    Unavailable(StoreError),
}

impl Library {
    /// What the leased message refers to.
    pub(crate) fn find(
        &mut self,
        store: &mut impl Store,
        message: &Message,
    ) -> Result<Parts, Missing> {
        let endpoint = self.endpoint(store, message)?;
        let template = self.template(store, message.template_id, message.template_version)?;
        Ok(Parts { template, endpoint })
    }

    /// The settings of the endpoint that the message names; none for a URL.
    fn endpoint(
        &mut self,
        store: &mut impl Store,
        message: &Message,
    ) -> Result<Option<Arc<EndpointSettings>>, Missing> {
        let Some(name) = message.endpoint.as_deref().filter(|text| !text.contains("://")) else {
            return Ok(None);
        };
        let deleted = || {
            let reason = format!("endpoint `{name}` was deleted after this message was enqueued");
            Missing::Failed(Failure::permanent("endpoint_deleted", reason))
        };
        let version = message.endpoint_version.ok_or_else(deleted)?;
        if self.endpoints.get(name).is_none_or(|known| known.version != version) {
            let found = store.endpoint(name).map_err(|err| unreadable("endpoint", err))?;
            let found = Arc::new(found.ok_or_else(deleted)?);
            if self.endpoints.len() == ENDPOINTS_MAX {
                self.endpoints.clear(); // Rarer than a better way would be worth.
            }
            self.endpoints.insert(name.to_owned(), found);
        }
        let endpoint = &self.endpoints[name];
        match &endpoint.disabled {
            Some(why) => Err(Missing::Failed(disabled(name, why))),
            None => Ok(Some(Arc::clone(endpoint))),
        }
    }

    fn template(
        &mut self,
        store: &mut impl Store,
        id: Uuid,
        version: Option<i32>,
    ) -> Result<Arc<Template>, Missing> {
        let deleted = || {
            let reason = format!("template {id} was deleted after this message was enqueued");
            Missing::Failed(Failure::permanent("template_deleted", reason))
        };
        let mut version = version.ok_or_else(deleted)?;
        if !self.templates.contains(id, version) {
            let row = store.template(id).map_err(|err| unreadable("template", err))?;
            let row = row.ok_or_else(deleted)?;
            version = row.version; // It may have been edited since the acquire.
            let compiled = panic::catch_unwind(|| Template::compile(&row.into()))
                .map_err(|text| Missing::Failed(Failure::panicked("template", text.as_ref())))?;
            self.templates.insert(id, version, compiled);
        }
        let template = self.templates.get(id, version).expect("it was learnt above");
        template.map_err(|err| Missing::Failed(template_failure(err)))
    }
}

/// A row that the database did not give, or that makes no sense.
fn unreadable(code: &str, err: StoreError) -> Missing {
    match err {
        StoreError::Unreadable(reason) => Missing::Failed(Failure::permanent(code, reason)),
        err => Missing::Unavailable(err),
    }
}

fn disabled(name: &str, why: &str) -> Failure {
    let reason = format!(
        "endpoint `{name}` is disabled; `postrider endpoint enable {name}`, then \
         `postrider message retry`, sends this after all ({why})"
    );
    Failure::permanent("endpoint_disabled", reason)
}

fn template_failure(err: &TemplateError) -> Failure {
    Failure::permanent("template", err.to_string())
}
