//! The relay as the settings describe it, checked once at start.

use std::fs;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::address::{Address, Mailbox};
use super::auth::Credentials;
use super::mail::Sender;
use super::resolve::Resolver;
use crate::config::{SmtpConfig, SmtpTls};
use crate::transport::Trace;

/// A setting of `smtp.*` that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SmtpSetupError {
    /// A setting that e-mail needs.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A value that makes no sense.
    #[error("{key}: {why}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A file that cannot be read, or does not hold what it should.
    #[error("{key}: read {}", path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the system or the parser said.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key that do not go together.
    #[error("{what}")]
    Start {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Everything that opening a session needs.
pub(super) struct Relay {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: SmtpTls,
    pub(super) tls_client: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
    pub(super) credentials: Option<Credentials>,
    pub(super) sender: Sender,
    pub(super) resolver: Resolver,
    pub(super) trace: Trace,
    /// `None`: the address of the socket stands in.
    hello: Option<String>,
}

impl Relay {
    pub(super) fn new(config: &SmtpConfig) -> Result<Self, SmtpSetupError> {
        let host = config.host.clone().ok_or(SmtpSetupError::Missing("smtp.host"))?;
        let from = config.from.as_deref().ok_or(SmtpSetupError::Missing("smtp.from"))?;
        let mailbox = Mailbox::parse(from).map_err(|why| invalid("smtp.from", why))?;
        let envelope = match config.bounces_to.as_deref().map(Address::parse) {
            Some(parsed) => parsed.map_err(|why| invalid("smtp.bounces_to", why))?,
            None => mailbox.address.clone(),
        };
        let (name_key, name) = match &config.server_name {
            Some(name) => ("smtp.server_name", name),
            None => ("smtp.host", &host),
        };
        let server_name = ServerName::try_from(without_brackets(name).to_owned())
            .map_err(|_| invalid(name_key, "this is neither a host name nor an address"))?;
        let hello = match &config.hello {
            Some(name) => Some(checked_hello(name)?),
            None => host_name(),
        };
        Ok(Self {
            tls: config.tls_mode(),
            tls_client: Arc::new(tls_client(config)?),
            credentials: credentials(config)?,
            resolver: Resolver::new(&host, config.port),
            port: config.port,
            trace: Trace::default(),
            host,
            server_name,
            sender: Sender { mailbox, envelope },
            hello,
        })
    }

    /// The name for EHLO. An address literal needs no DNS to be true (RFC 5321, 4.1.3).
    pub(super) fn hello_name(&self, socket: &TcpStream) -> String {
        if let Some(name) = &self.hello {
            return name.clone();
        }
        match socket.local_addr().map(|address| address.ip().to_canonical()) {
            Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
            Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
            Err(_) => "[127.0.0.1]".into(),
        }
    }
}

fn invalid(key: &'static str, why: impl Into<String>) -> SmtpSetupError {
    SmtpSetupError::Invalid { key, why: why.into() }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn checked_hello(name: &str) -> Result<String, SmtpSetupError> {
    let fits = (1..=255).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_graphic());
    let why = "it must be a host name, such as mail.example.com, or an address in brackets";
    if fits { Ok(name.to_owned()) } else { Err(invalid("smtp.hello", why)) }
}

/// The name of this machine, where it is a full one.
fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files.iter().find_map(|path| fs::read_to_string(path).ok())?;
    let name = name.trim().trim_end_matches('.');
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    (name.contains('.') && name.split('.').all(is_label)).then(|| name.to_owned())
}

fn credentials(config: &SmtpConfig) -> Result<Option<Credentials>, SmtpSetupError> {
    let password = config.password.as_ref().filter(|password| !password.expose().is_empty());
    let username = config.username.as_ref().filter(|name| !name.is_empty());
    match (username, password) {
        (None, None) => Ok(None),
        (Some(username), Some(password)) => {
            if [username, password.expose()].iter().any(|text| text.contains('\0')) {
                return Err(invalid("smtp.username, smtp.password", "a NUL cannot be sent"));
            }
            Ok(Some(Credentials {
                username: username.clone(),
                password: password.clone(),
                auth: config.auth,
            }))
        }
        (Some(_), None) => {
            Err(SmtpSetupError::Missing("smtp.password, which smtp.username needs,"))
        }
        (None, Some(_)) => {
            Err(SmtpSetupError::Missing("smtp.username, which smtp.password needs,"))
        }
    }
}

fn tls_client(config: &SmtpConfig) -> Result<ClientConfig, SmtpSetupError> {
    let start = |err: rustls::Error| SmtpSetupError::Start {
        what: "smtp.cert_file and smtp.key_file: use the client certificate",
        source: io::Error::other(err),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(start)?
        .with_root_certificates(roots(config.ca_file.as_deref())?);
    match (&config.cert_file, &config.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates("smtp.cert_file", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| file("smtp.key_file", key, source))?;
            builder.with_client_auth_cert(chain, key).map_err(start)
        }
        (Some(_), None) => {
            Err(SmtpSetupError::Missing("smtp.key_file, which smtp.cert_file needs,"))
        }
        (None, Some(_)) => {
            Err(SmtpSetupError::Missing("smtp.cert_file, which smtp.key_file needs,"))
        }
    }
}

/// The authorities of `ca_file`; they replace the public ones.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, SmtpSetupError> {
    let Some(path) = ca_file else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("smtp.ca_file", path)? {
        roots
            .add(certificate)
            .map_err(|err| invalid("smtp.ca_file", format!("{}: {err}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SmtpSetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(file(key, path, pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(source) => Err(file(key, path, source)),
    }
}

fn file(key: &'static str, path: &Path, source: pem::Error) -> SmtpSetupError {
    SmtpSetupError::File { key, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
