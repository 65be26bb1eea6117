//! TLS settings of `endpoint set`.

use std::path::PathBuf;

use clap::Args;
use postrider::config::Secret;
use postrider::endpoint::{ClientIdentity, EndpointSettings};
use postrider::transport::webhook::keep;
use postrider::vault::Vault;

use super::{read, usage};
use crate::cli::output::Failed;

/// What is read from the files is kept with the endpoint; the files are not needed any more.
#[derive(Debug, Args)]
pub(super) struct TlsSettings {
    /// File with authorities (PEM) that it is trusted by, beside the public ones
    #[arg(long, value_name = "FILE", conflicts_with = "remove_ca")]
    ca_file: Option<PathBuf>,
    /// Drops its authorities
    #[arg(long)]
    remove_ca: bool,
    /// File with the certificate (PEM, with its chain) that we show if it asks for one
    #[arg(long, value_name = "FILE", requires = "key_file", conflicts_with = "remove_cert")]
    cert_file: Option<PathBuf>,
    /// File with the key of the certificate (PEM), which is stored encrypted only
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Drops certificate and key
    #[arg(long)]
    remove_cert: bool,
}

impl TlsSettings {
    /// Puts what was given into the endpoint.
    pub(super) fn apply(
        &self,
        endpoint: &mut EndpointSettings,
        vault: &Vault,
    ) -> Result<(), Failed> {
        if let Some(path) = &self.ca_file {
            endpoint.tls.authorities = Some(read(path)?);
        } else if self.remove_ca {
            endpoint.tls.authorities = None;
        }
        if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
            let certificate = read(certificate)?;
            let key = keep::seal_client_key(endpoint, vault, &Secret::new(read(key)?));
            let key = key.map_err(|err| usage(format!("--key-file: the key {err}")))?;
            endpoint.tls.identity = Some(ClientIdentity { certificate, key });
        } else if self.remove_cert {
            endpoint.tls.identity = None;
        }
        Ok(())
    }
}
