//! Connection strings: checked without a connection, shown without the password.

use std::error::Error as _;

use postgres::config::Host;

use super::Secret;

/// Checks a connection string.
///
/// # Errors
///
/// What is wrong, to be put after the name of the setting. Never holds a part of the string but
/// a scheme: where `@`, `/` or `:` went wrong, any part may be the password.
pub(super) fn check(secret: &Secret) -> Result<(), String> {
    let text = secret.expose();
    if text.trim().is_empty() {
        return Err("is empty; write postgres://user:password@host/database".into());
    }
    match scheme(text) {
        Some("postgres" | "postgresql") => check_encoding(text)?,
        Some(other) => {
            return Err(format!("{other}:// is not PostgreSQL; the URL starts with postgres://"));
        }
        None => (),
    }
    let parsed: postgres::Config = text.parse().map_err(|error| explain(&error))?;
    if parsed.get_hosts().is_empty() && parsed.get_hostaddrs().is_empty() {
        return Err("names no host; write host=/var/run/postgresql for a local socket".into());
    }
    if parsed.get_ports().contains(&0) {
        return Err("port 0 is none; PostgreSQL's own is 5432".into());
    }
    Ok(())
}

/// The string without its password.
pub(super) fn show(secret: Option<&Secret>) -> Option<toml::Value> {
    let text = secret?.expose();
    let hidden = Secret::PLACEHOLDER;
    // Built from what was understood, for a cut through the text could miss a part.
    let Ok(parsed) = text.parse::<postgres::Config>() else { return Some(hidden.into()) };
    let hosts = parsed.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let ports = parsed.get_ports().iter().map(ToString::to_string);
    let words = [
        ("host", hosts.collect::<Vec<_>>().join(",")),
        ("port", ports.collect::<Vec<_>>().join(",")),
        ("user", parsed.get_user().unwrap_or_default().to_owned()),
        ("password", parsed.get_password().map_or("", |_| hidden).to_owned()),
        ("dbname", parsed.get_dbname().unwrap_or_default().to_owned()),
    ];
    let set = words.into_iter().filter(|(_, value)| !value.is_empty());
    let words: Vec<_> = set.map(|(name, value)| format!("{name}={value}")).collect();
    Some(words.join(" ").into())
}

fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let plain = scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'+');
    (plain && !scheme.is_empty()).then_some(scheme)
}

/// Refuses what the parser would take in silence and cut in the wrong place.
fn check_encoding(url: &str) -> Result<(), String> {
    if 1 < url.matches('@').count() {
        return Err("has a second '@'; write @ in a user name or password as %40".into());
    }
    let userinfo = url.split_once('@').map_or("", |(before, _)| before);
    let beyond = userinfo.split_once("://").map_or("", |(_, userinfo)| userinfo);
    if beyond.contains(['/', '?', '#']) {
        return Err("has '/', '?' or '#' in the user name or password, or an '@' after the host; \
                    write / ? # @ there as %2F %3F %23 %40"
            .into());
    }
    let mut after_percent = url.split('%').skip(1);
    let is_hex = |rest: &str| {
        let mut octets = rest.bytes();
        (0..2).all(|_| octets.next().is_some_and(|octet| octet.is_ascii_hexdigit()))
    };
    if !after_percent.all(is_hex) {
        return Err("has a '%' that starts no escape; write % as %25".into());
    }
    if url.contains('#') {
        return Err("has a '#'; write # as %23".into());
    }
    Ok(())
}

/// Names the option at fault if it is one of PostgreSQL's own, which hold nothing of ours.
fn explain(error: &postgres::Error) -> String {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let option = |before: &str| {
        let (name, _) = cause.strip_prefix(before)?.split_once('`')?;
        Some(name.to_owned())
    };
    match (option("invalid value for option `"), option("unknown option `")) {
        (Some(name), _) if name == "sslmode" => {
            "takes sslmode disable, prefer or require; set database.tls for verify-ca and \
             verify-full"
                .into()
        }
        (Some(name), _) => format!("has a value of {name} that PostgreSQL does not take"),
        (_, Some(name)) => match SETTINGS_INSTEAD.iter().find(|(option, _)| *option == name) {
            Some((option, setting)) => format!("has {option}; set {setting} in its place"),
            // Not shown: it may be a part of a password.
            None => "has an option that is not known here".into(),
        },
        (None, None) => {
            "is not understood; write postgres://user:password@host/database, or words such as \
             host=... user=... password='...' dbname=..."
                .into()
        }
    }
}

/// Options of libpq that are settings here.
const SETTINGS_INSTEAD: [(&str, &str); 3] = [
    ("sslrootcert", "database.ca_file"),
    ("sslcert", "database.cert_file"),
    ("sslkey", "database.key_file"),
];
