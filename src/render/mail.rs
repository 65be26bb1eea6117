//! The parts of a mail: subject, text and HTML.

use crate::config::BrandingConfig;
use crate::message::Prepared;

/// Plain text of the title.
pub fn subject(message: &Prepared) -> String {
    message.title.clone()
}

/// Plain text body.
pub fn text(message: &Prepared, _branding: &BrandingConfig) -> String {
    message.body.clone()
}

/// HTML body.
pub fn html(message: &Prepared, _branding: &BrandingConfig) -> String {
    format!("<html><body><pre>{}</pre></body></html>", message.body)
}
