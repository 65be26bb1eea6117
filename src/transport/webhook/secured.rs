//! TLS of one endpoint: authorities that it adds, and the certificate that it is shown.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use ureq::Agent;

use crate::endpoint::{ClientIdentity, EndpointSettings};
use crate::transport::webhook::target::EndpointFault;
use crate::transport::webhook::tls;
use crate::vault::Vault;

/// Ready for use, with the client that it needs for itself.
pub(super) struct Secured {
    /// Beside those that all endpoints trust.
    pub(super) authorities: RootCertStore,
    pub(super) identity: Option<Arc<CertifiedKey>>,
    /// Made by the first delivery.
    pub(super) agent: OnceLock<Arc<Agent>>,
}

impl Secured {
    /// `None` for an endpoint that has nothing of its own.
    pub(super) fn new(
        settings: &EndpointSettings,
        vault: &Vault,
    ) -> Result<Option<Self>, EndpointFault> {
        let tls = &settings.tls;
        if tls.authorities.is_none() && tls.identity.is_none() {
            return Ok(None);
        }
        let mut authorities = RootCertStore::empty();
        if let Some(pem) = &tls.authorities {
            tls::add(&mut authorities, pem.as_bytes()).map_err(EndpointFault::Authorities)?;
        }
        let identity =
            tls.identity.as_ref().map(|it| certified(it, settings, vault)).transpose()?;
        Ok(Some(Self { authorities, identity: identity.map(Arc::new), agent: OnceLock::new() }))
    }
}

fn certified(
    identity: &ClientIdentity,
    settings: &EndpointSettings,
    vault: &Vault,
) -> Result<CertifiedKey, EndpointFault> {
    let chain = tls::certificates(identity.certificate.as_bytes());
    let chain = chain.map_err(EndpointFault::Certificate)?;
    let key = vault.open(&identity.key, &settings.place(KEY_PART));
    let key = key.map_err(EndpointFault::SealedKey)?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
    let key = key.map_err(|_| EndpointFault::Key)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => EndpointFault::Mismatch,
        rustls::Error::InvalidCertificate(_) => {
            EndpointFault::Certificate(tls::BadPem::Certificate)
        }
        _ => EndpointFault::Key,
    })
}

/// The part of an endpoint, for a [`Vault`], that the key of its certificate is.
pub(super) const KEY_PART: &str = "client_key";
