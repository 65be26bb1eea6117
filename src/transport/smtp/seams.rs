//! Ways into the parts, for fuzz targets only. Not part of the interface.

use std::fmt::Write as _;

use super::address::{Address, Mailbox};
use super::classify::{Cause, Phase, classify};
use super::mail::{Mail, Sender};
use super::reply;
use crate::config::BrandingConfig;
use crate::message::Prepared;
use crate::outcome::Failure;

/// The failure that these octets of a relay mean as the answer to RCPT TO; `None` for a yes.
pub fn refusal(mut octets: &[u8]) -> Option<Failure> {
    let cause = match reply::read(&mut octets) {
        Ok(reply) if reply.class() == 2 => return None,
        Ok(reply) => Cause::Reply(reply),
        Err(cause) => cause,
    };
    Some(classify(&cause.at(Phase::Rcpt)))
}

/// The address as it would be sent.
pub fn address(text: &str) -> Option<String> {
    let mut out = String::new();
    write!(out, "{}", Address::parse(text).ok()?).ok()?;
    Some(out)
}

/// What would follow DATA.
pub fn mail(message: &Prepared, from: &str) -> Option<Vec<u8>> {
    let mailbox = Mailbox::parse(from).ok()?;
    let sender = Sender { envelope: mailbox.address.clone(), mailbox };
    Mail::render(message, &BrandingConfig::default(), &sender, None).ok().map(|mail| mail.data)
}
