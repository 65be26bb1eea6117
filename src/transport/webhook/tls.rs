//! Which certificates a webhook trusts, and what a TLS error means to people.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};

/// Settings of TLS: the public authorities, and those in `ca_file` (PEM).
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, BadCaFile> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, BadCaFile> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        add_file(&mut roots, path).map_err(|fault| BadCaFile { path: path.to_owned(), fault })?;
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), CaFault> {
    let pem = fs::read(path).map_err(CaFault::Read)?;
    let public = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| CaFault::Certificate)?;
        roots.add(certificate).map_err(|_| CaFault::Certificate)?;
    }
    if roots.len() == public { Err(CaFault::Empty) } else { Ok(()) }
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
                "its certificate has an unknown issuer; webhook.ca_file can add one".into()
            }
            Bad::Revoked => "its certificate is revoked".into(),
            other => format!("its certificate is not accepted ({other})"),
        },
        Error::InvalidMessage(_) => "it does not speak TLS on this port".into(),
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
    #[error("has a certificate that cannot be read")]
    Certificate,
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
