//! How the text of a setting becomes a value, and a value text again.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::{
    AllowPrivate, Bell, DatabaseTls, LogFormat, OnAuthFailure, OnUncertain, Secret, SmtpAuth,
    SmtpTls, duration,
};

/// A setting as a source gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// Text; for a list, items with commas between them.
    One(String),
    /// The items of an array in the file.
    Many(Vec<String>),
}

impl Given {
    pub(super) fn one(&self) -> Result<&str, String> {
        match self {
            Self::One(text) => Ok(text),
            Self::Many(_) => Err("is a list; give one value".into()),
        }
    }

    fn items(&self) -> Vec<String> {
        match self {
            Self::One(text) if text.trim().is_empty() => Vec::new(),
            Self::One(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            Self::Many(items) => items.clone(),
        }
    }
}

/// A type that a setting may have.
pub(super) trait Value: Sized {
    /// What such a value is, for tables.
    const KIND: &'static str;
    /// Whether the value must not be shown.
    const SECRET: bool = false;

    /// Reads a value. The error says what is wrong with it, and is put after it.
    fn read(given: &Given) -> Result<Self, String>;

    /// The value for people to see; `None` where it is not set.
    fn show(&self) -> Option<toml::Value>;
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    const SECRET: bool = T::SECRET;

    fn read(given: &Given) -> Result<Self, String> {
        if *given == Given::One(String::new()) {
            return Err("is empty; give a value or leave the setting out".into());
        }
        T::read(given).map(Some)
    }

    fn show(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::show)
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "list of names";

    fn read(given: &Given) -> Result<Self, String> {
        non_empty(given.items())
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.clone().into())
    }
}

impl Value for Vec<Duration> {
    const KIND: &'static str = "list of durations";

    fn read(given: &Given) -> Result<Self, String> {
        let read = |item: String| {
            duration::parse(&item).map_err(|problem| format!("has {item:?}, which {problem}"))
        };
        non_empty(given.items())?.into_iter().map(read).collect()
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.iter().copied().map(duration::format).collect::<Vec<_>>().into())
    }
}

fn non_empty(items: Vec<String>) -> Result<Vec<String>, String> {
    if items.is_empty() { Err("is an empty list".into()) } else { Ok(items) }
}

impl Value for Duration {
    const KIND: &'static str = "duration";

    fn read(given: &Given) -> Result<Self, String> {
        duration::parse(given.one()?)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(duration::format(*self).into())
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        if text.contains(char::is_control) {
            return Err("has a line break or another control character".into());
        }
        Ok(text.to_owned())
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.clone().into())
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret";
    const SECRET: bool = true;

    fn read(given: &Given) -> Result<Self, String> {
        given.one().map(Self::new)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(Self::PLACEHOLDER.into())
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "file";

    fn read(given: &Given) -> Result<Self, String> {
        given.one().map(Self::from)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.to_string_lossy().into_owned().into())
    }
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl Value for $number {
            const KIND: &'static str = "whole number";

            fn read(given: &Given) -> Result<Self, String> {
                let text = given.one()?.trim();
                let digits = text.bytes().all(|octet| octet.is_ascii_digit());
                text.parse().ok().filter(|_| digits).ok_or_else(|| {
                    format!("is not a whole number from 0 to {}", <$number>::MAX)
                })
            }

            fn show(&self) -> Option<toml::Value> {
                Some(i64::try_from(*self).unwrap_or(i64::MAX).into())
            }
        }
    )+};
}

whole_numbers!(u16, u32, usize);

impl Value for f64 {
    const KIND: &'static str = "number";

    fn read(given: &Given) -> Result<Self, String> {
        let number = given.one()?.trim().parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| "is not a number such as 2 or 1.5".into())
    }

    fn show(&self) -> Option<toml::Value> {
        Some((*self).into())
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()?.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("is neither true nor false".into()),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        Some((*self).into())
    }
}

impl Value for AllowPrivate {
    const KIND: &'static str = "true, false or list of networks";

    fn read(given: &Given) -> Result<Self, String> {
        match bool::read(given) {
            Ok(true) => return Ok(Self::All),
            Ok(false) => return Ok(Self::No),
            Err(_) => (),
        }
        let networks = non_empty(given.items())?;
        match networks.iter().find(|network| !is_network(network)) {
            Some(other) => Err(format!(
                "has {other:?}, which is not a network; write true, false, or networks such as \
                 10.1.0.0/16 or fd00::/8"
            )),
            None => Ok(Self::Networks(networks)),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        Some(match self {
            Self::No => false.into(),
            Self::All => true.into(),
            Self::Networks(networks) => networks.clone().into(),
        })
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let digits = length.bytes().all(|octet| octet.is_ascii_digit());
    match (address.parse(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => digits && bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => digits && bits <= 128,
        _ => false,
    }
}

macro_rules! choices {
    ($choice:ty: $kind:literal, $($text:literal = $value:expr),+) => {
        impl Value for $choice {
            const KIND: &'static str = $kind;

            fn read(given: &Given) -> Result<Self, String> {
                match given.one()?.trim() {
                    $($text => Ok($value),)+
                    _ => Err(concat!("is not one of ", $kind).into()),
                }
            }

            fn show(&self) -> Option<toml::Value> {
                [$(($value, $text)),+]
                    .into_iter()
                    .find_map(|(value, text)| (value == *self).then(|| text.into()))
            }
        }
    };
}

choices!(SmtpTls: "implicit, required, opportunistic, none",
    "implicit" = SmtpTls::Implicit,
    "required" = SmtpTls::Required,
    "opportunistic" = SmtpTls::Opportunistic,
    "none" = SmtpTls::None
);

choices!(SmtpAuth: "any, plain, login, xoauth2",
    "any" = SmtpAuth::Any,
    "plain" = SmtpAuth::Plain,
    "login" = SmtpAuth::Login,
    "xoauth2" = SmtpAuth::Xoauth2
);

choices!(OnUncertain: "retry, hold", "retry" = OnUncertain::Retry, "hold" = OnUncertain::Hold);

choices!(OnAuthFailure: "pause, fail", "pause" = OnAuthFailure::Pause, "fail" = OnAuthFailure::Fail);

choices!(DatabaseTls: "disable, prefer, require, verify-ca, verify-full",
    "disable" = DatabaseTls::Disable,
    "prefer" = DatabaseTls::Prefer,
    "require" = DatabaseTls::Require,
    "verify-ca" = DatabaseTls::VerifyCa,
    "verify-full" = DatabaseTls::VerifyFull
);

choices!(Bell: "auto, on, off", "auto" = Bell::Auto, "on" = Bell::On, "off" = Bell::Off);

choices!(LogFormat: "text, json", "text" = LogFormat::Text, "json" = LogFormat::Json);

choices!(LevelFilter: "error, warn, info, debug, trace",
    "error" = LevelFilter::Error,
    "warn" = LevelFilter::Warn,
    "info" = LevelFilter::Info,
    "debug" = LevelFilter::Debug,
    "trace" = LevelFilter::Trace
);
