//! Mail addresses: checked, and with the domain as A-labels (RFC 5321, 4.1.2; RFC 5891).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest local part and domain, in octets (RFC 5321, 4.5.3.1).
const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 255;

/// `local@domain`, safe to put in a command and in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    local: String,
    /// ASCII.
    domain: String,
}

impl Address {
    /// Parses a bare address. The error says what is wrong without repeating the address.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_matches(' ');
        if text.chars().any(char::is_control) {
            return Err("it has a control character or a line break");
        }
        let (local, domain) = text.rsplit_once('@').ok_or("it has no @")?;
        if local.is_empty() || domain.is_empty() {
            return Err("it needs text before and after the @");
        }
        if LOCAL_MAX < local.len() {
            return Err("the part before the @ is longer than 64 octets");
        }
        let domain = ascii_domain(domain).ok_or("the domain is not valid")?;
        // The check is lettre's; it knows dot-atoms, quoted strings and address literals.
        match lettre::Address::new(local, &domain) {
            Ok(_) => Ok(Self { local: local.to_owned(), domain }),
            Err(lettre::address::AddressError::InvalidDomain) => Err("the domain is not valid"),
            Err(_) => Err("the part before the @ is not valid"),
        }
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether only SMTPUTF8 can carry it: the local part has no ASCII form (RFC 6531, 3.2).
    pub(super) fn needs_utf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

fn ascii_domain(domain: &str) -> Option<String> {
    if let Some(literal) = domain.strip_prefix('[') {
        return is_address_literal(literal.strip_suffix(']')?).then(|| domain.to_owned());
    }
    let ascii = idna::domain_to_ascii(domain).ok()?;
    (!ascii.is_empty() && ascii.len() <= DOMAIN_MAX).then_some(ascii)
}

/// Whether it is what stands between the brackets of an address literal (RFC 5321, 4.1.3). The
/// grammar of headers allows nearly anything there, a `>` too, which would end the path of a command.
fn is_address_literal(text: &str) -> bool {
    match text.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

/// An address with a display name, as in `smtp.from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// As it is meant, without quotes.
    pub(super) name: Option<String>,
    pub(super) address: Address,
}

impl Mailbox {
    /// Parses `address`, `Name <address>` or `"Name" <address>`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let Some(inner) = text.strip_suffix('>') else {
            return Ok(Self { name: None, address: Address::parse(text)? });
        };
        let (name, address) = inner.rsplit_once('<').ok_or("it has > without <")?;
        let address = Address::parse(address)?;
        let name = unquote(name.trim())?;
        Ok(Self { name: (!name.is_empty()).then_some(name), address })
    }
}

fn unquote(name: &str) -> Result<String, &'static str> {
    let Some(inner) = name.strip_prefix('"') else {
        return if name.contains(['<', '>', '@', ',', ';', ':', '"', '\\']) {
            Err("a name with special characters needs quotes: \"Name\" <address>")
        } else {
            Ok(name.to_owned())
        };
    };
    let inner = inner.strip_suffix('"').ok_or("the quotes around the name do not end")?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().ok_or("the quotes around the name do not end")?),
            '"' => return Err("a quote within the name needs a backslash"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_be_sent_to_are_taken() {
        for text in [
            "a@example.com",
            "a.b+c@example.com",
            "o'hara@example.com",
            "a@[127.0.0.1]",
            "a@[IPv6:2001:db8::1]",
            "\"a b\"@example.com",
            "a@localhost",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse(" a@example.com ").unwrap().to_string(), "a@example.com");
    }

    #[test]
    fn c22_addresses_that_cannot_are_refused() {
        for text in [
            "",
            "a",
            "@example.com",
            "a@",
            "a b@example.com",
            "a@example.com, b@example.com",
            "a@example.com\r\nRCPT TO:<v@example.com>",
            "\"a\r\nb\"@example.com",
            "a@exa mple.com",
            "<a@example.com>",
            "a@example.com>",
            "a@b@example.com",
            "a@example..com",
            "a\0@example.com",
            "a@[x>SIZE=1]",
            "a@[127.0.0.1",
            "a@[999.0.0.1]",
            "a@[IPv6:x]",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        assert!(Address::parse(&format!("{}@example.com", "x".repeat(65))).is_err());
        assert!(Address::parse(&format!("a@{}com", "example.".repeat(40))).is_err());
    }

    #[test]
    fn c20_an_international_domain_becomes_ascii_and_the_local_part_stays() {
        let address = Address::parse("a@exämple.com").unwrap();
        assert_eq!(address.to_string(), "a@xn--exmple-cua.com");
        assert!(!address.needs_utf8());
        let address = Address::parse("ä@example.com").unwrap();
        assert_eq!(address.to_string(), "ä@example.com");
        assert!(address.needs_utf8());
    }

    #[test]
    fn a_sender_may_have_a_name() {
        let parse = |text| Mailbox::parse(text).map(|it| (it.name, it.address.to_string()));
        let named = |name: &str| Ok((Some(name.to_owned()), "a@example.com".to_owned()));
        assert_eq!(parse("a@example.com"), Ok((None, "a@example.com".into())));
        assert_eq!(parse("<a@example.com>"), Ok((None, "a@example.com".into())));
        assert_eq!(parse("Système d'alerte <a@example.com>"), named("Système d'alerte"));
        assert_eq!(parse(r#""Ann, \"Bob\"" <a@example.com>"#), named(r#"Ann, "Bob""#));
        for bad in [
            "A <a@example.com>, B <b@example.com>",
            "Ann, Bob <a@example.com>",
            "\"Ann <a@example.com>",
            "a@example.com>",
            "Ann",
            "a@example.com, b@example.com",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
