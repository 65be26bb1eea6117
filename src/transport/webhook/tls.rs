//! Which certificates a webhook trusts, and what a TLS error means to people.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, SignatureScheme,
};

use crate::transport::{Trace, certificate};

/// Settings of TLS; `identity` is for peers that ask for a certificate.
pub(super) fn client_config(
    roots: RootCertStore,
    identity: Option<Arc<CertifiedKey>>,
    trace: &Trace,
) -> Arc<ClientConfig> {
    let identity = Identity { key: identity, trace: trace.clone() };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(identity));
    Arc::new(config)
}

/// The public authorities, and those in `ca_file` (PEM).
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, BadCaFile> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let bad = |fault| BadCaFile { path: path.to_owned(), fault };
        let pem = fs::read(path).map_err(|error| bad(CaFault::Read(error)))?;
        add(&mut roots, &pem).map_err(|error| bad(CaFault::Pem(error)))?;
    }
    Ok(roots)
}

/// Adds the authorities in a PEM text.
pub(super) fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), BadPem> {
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| BadPem::Certificate)?;
    }
    Ok(())
}

/// The certificates in a PEM text, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| BadPem::Certificate)?;
    if found.is_empty() { Err(BadPem::Empty) } else { Ok(found) }
}

/// Shows our certificate to a peer that asks for one, if there is one, and tells of it.
#[derive(Debug)]
struct Identity {
    key: Option<Arc<CertifiedKey>>,
    trace: Trace,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let first = self.key.as_ref().and_then(|key| key.cert.first());
        self.trace.note("client certificate", || match first {
            Some(ours) => format!("it asks for one; ours: {}", certificate::about(ours)),
            None => "it asks for one; the endpoint has none (endpoint set --cert-file)".into(),
        });
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

/// What went wrong, for the person who can mend it.
pub(super) fn explain(error: &Error) -> String {
    use CertificateError as Bad;
    match error {
        Error::InvalidCertificate(fault) => match fault {
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".into(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet".into()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name".into()
            }
            Bad::UnknownIssuer => {
                "its certificate has an unknown issuer; webhook.ca_file or the endpoint's \
                 --ca-file can add one"
                    .into()
            }
            Bad::Revoked => "its certificate is revoked".into(),
            other => format!("its certificate is not accepted ({other})"),
        },
        Error::InvalidMessage(_) => "it does not speak TLS on this port".into(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a client certificate; the endpoint's --cert-file can give it one".into()
        }
        Error::AlertReceived(alert) => format!("it ended the handshake ({alert:?})"),
        other => format!("the handshake failed ({other})"),
    }
}

/// A certificate file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct BadCaFile {
    path: PathBuf,
    fault: CaFault,
}

#[derive(Debug, thiserror::Error)]
enum CaFault {
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error(transparent)]
    Pem(BadPem),
}

/// A text that should hold certificates in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// One of them is damaged.
    #[error("has a certificate that cannot be read")]
    Certificate,
    /// There is none.
    #[error("has no PEM certificate")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorities_of_a_file_come_on_top_of_the_public_ones() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = std::env::temp_dir().join(format!("postrider-roots-{}.pem", std::process::id()));
        fs::write(&path, key.cert.pem()).unwrap();
        let public = roots(None).unwrap().len();
        let all = roots(Some(&path)).map(|roots| roots.len());
        fs::remove_file(path).unwrap();
        assert!(100 < public, "{public}");
        assert_eq!(all.unwrap(), public + 1);
    }
}
