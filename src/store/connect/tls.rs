//! TLS settings of connections to PostgreSQL: whom to trust, and how far.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::config::{DatabaseConfig, DatabaseTls};

/// Name of the protocol inside, which PostgreSQL 17 and newer ask for.
const ALPN: &[u8] = b"postgresql";

/// Settings for `mode`.
///
/// # Errors
///
/// The setting whose file cannot be used, and why.
pub(super) fn client_config(
    config: &DatabaseConfig,
    mode: DatabaseTls,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        DatabaseTls::Disable | DatabaseTls::Prefer | DatabaseTls::Require => {
            Arc::new(Lenient { authorities: None, provider: Arc::clone(&provider) })
        }
        DatabaseTls::VerifyCa => {
            let authorities = Some(authorities(config.ca_file.as_deref(), &provider)?);
            Arc::new(Lenient { authorities, provider: Arc::clone(&provider) })
        }
        DatabaseTls::VerifyFull => authorities(config.ca_file.as_deref(), &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut client = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => {
            let chain = certificates("database.cert_file", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|err| fault("database.key_file", key, &err))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|err| format!("database.cert_file and database.key_file: {err}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("database.cert_file and database.key_file belong together".into()),
    };
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok(client)
}

/// The authorities of `ca_file`; they replace the public ones.
fn authorities(
    ca_file: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates("database.ca_file", path)? {
                roots.add(certificate).map_err(|err| fault("database.ca_file", path, &err))?;
            }
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|err| format!("database.ca_file: {err}"))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(fault(key, path, &"has no PEM certificate")),
        Ok(found) => Ok(found),
        Err(err) => Err(fault(key, path, &err)),
    }
}

fn fault(key: &str, path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{key}: {}: {what}", path.display())
}

/// Checks less than a certificate is worth, as libpq's modes below `verify-full` do: a server
/// cannot be told from one that stands in its way.
#[derive(Debug)]
struct Lenient {
    /// Who must have issued it, for whatever name; `None`: anybody.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is looked at last, so all else is in order.
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
