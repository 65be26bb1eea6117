//! From the sources to checked settings: flags over environment over file over defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Faults};
use super::keys::{self, ENV_PREFIX, KEYS, Key};
use super::value::Given;
use super::{Config, Secret, file};

/// The short name of `database.url` in the environment. The full name goes first.
const DATABASE_URL: &str = "DATABASE_URL";
/// Names the settings file in the environment.
const CONFIG: &str = "CONFIG";
/// Longest value that an error shows, in characters.
const ECHO_MAX: usize = 60;

/// Where settings are read from, as plain data: the caller takes them from the process.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--set KEY=VALUE`, in order; the last one of a key holds.
    pub set: Vec<String>,
    /// `--database-url`; goes before `--set database.url=`.
    pub database_url: Option<String>,
    /// `--config`; goes before `POSTRIDER_CONFIG`.
    pub file: Option<PathBuf>,
    /// Environment variables. Those without our prefix are not looked at; an empty one counts as
    /// not set.
    pub env: Vec<(OsString, OsString)>,
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment variable of that name.
    Environment(String),
    /// The settings file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// The file that another setting names.
    SecretFile(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::SecretFile(key) => write!(f, "file that {key} names"),
        }
    }
}

/// Origins by key; a setting that is not in it has its default.
pub type Origins = BTreeMap<&'static str, Origin>;

/// What the sources say, the strongest one of each key, not yet read.
pub(super) type Found = BTreeMap<&'static str, (Given, Origin)>;

impl Config {
    /// Reads the settings and checks them.
    ///
    /// Only the strongest source of a setting is looked at. Opens the settings file and the files
    /// that settings name; nothing else of the world outside is touched.
    ///
    /// # Errors
    ///
    /// All that is wrong, one line each.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let mut config = Self::default();
        let mut found = sources.find(&mut faults);
        for key in KEYS {
            let Some((given, origin)) = found.remove(key.name) else { continue };
            if let Err(problem) = (key.set)(&mut config, &given) {
                faults.note(&[key.name], describe(key, &given, &origin, &problem));
            }
            config.origins.insert(key.name, origin);
        }
        config.read_secret_files(&mut faults);
        let base_url = config.branding.base_url.trim_end_matches('/').len();
        config.branding.base_url.truncate(base_url);
        config.check_all(&mut faults);
        faults.into_result().map(|()| config)
    }

    fn read_secret_files(&mut self, faults: &mut Faults) {
        let (smtp, webhook) = (&mut self.smtp, &mut self.webhook);
        let files = [
            ("smtp.password_file", &smtp.password_file, "smtp.password", &mut smtp.password),
            ("webhook.secret_file", &webhook.secret_file, "webhook.secret", &mut webhook.secret),
            (
                "webhook.encryption_key_file",
                &webhook.encryption_key_file,
                "webhook.encryption_key",
                &mut webhook.encryption_key,
            ),
        ];
        for (file_key, path, key, secret) in files {
            let Some(path) = path else { continue };
            if let Some(origin) = self.origins.get(key) {
                let both = format!("{key} ({origin}) and {file_key} are both set; remove one");
                faults.note(&[key, file_key], both);
                continue;
            }
            match Secret::from_file(path) {
                Ok(text) => {
                    *secret = Some(text);
                    self.origins.insert(key, Origin::SecretFile(file_key));
                }
                Err(error) => {
                    let line = format!("{file_key}: file {}: {error}", path.display());
                    faults.note(&[key, file_key], line);
                }
            }
        }
    }
}

impl Sources {
    /// What is set, weakest source first, so that a stronger one takes its place.
    pub(super) fn find(&self, faults: &mut Faults) -> Found {
        let mut found = Found::new();
        let env = self.own_env(faults);
        let named = env.get(CONFIG).map(Path::new);
        if let Some(path) = self.file.as_deref().or(named) {
            file::read(path, &mut found, faults);
        }
        read_env(&env, &mut found, faults);
        self.read_flags(&mut found, faults);
        found
    }

    /// Our environment variables that are not empty, by name without the prefix.
    fn own_env(&self, faults: &mut Faults) -> BTreeMap<&str, &str> {
        let mut own = BTreeMap::new();
        for (name, value) in &self.env {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(ENV_PREFIX)) else {
                continue;
            };
            match value.to_str() {
                Some("") => (),
                Some(value) => _ = own.insert(name, value),
                None => faults.stray(format!("{ENV_PREFIX}{name}: the value is not UTF-8")),
            }
        }
        own
    }

    fn read_flags(&self, found: &mut Found, faults: &mut Faults) {
        for flag in &self.set {
            let Some((name, value)) = flag.split_once('=') else {
                // Not echoed: it may be a value alone.
                faults.stray("--set: there is no '='; write --set KEY=VALUE".into());
                continue;
            };
            let Some(key) = keys::find(name.trim()) else {
                let hint = keys::suggestion(name, KEYS.iter().map(|key| key.name.to_owned()));
                faults.stray(format!("--set: unknown key {name:?}{hint}"));
                continue;
            };
            found.insert(key.name, (Given::One(value.to_owned()), Origin::Flag));
        }
        if let Some(url) = &self.database_url {
            found.insert("database.url", (Given::One(url.clone()), Origin::Flag));
        }
    }
}

fn read_env(env: &BTreeMap<&str, &str>, found: &mut Found, faults: &mut Faults) {
    if let Some(url) = env.get(DATABASE_URL) {
        let origin = Origin::Environment(format!("{ENV_PREFIX}{DATABASE_URL}"));
        found.insert("database.url", (Given::One((*url).to_owned()), origin));
    }
    for (name, value) in env {
        let name = format!("{ENV_PREFIX}{name}");
        if let Some(key) = KEYS.iter().find(|key| key.env_name() == name) {
            let given = Given::One((*value).to_owned());
            found.insert(key.name, (given, Origin::Environment(name)));
        } else if name.contains("__") {
            // Others are let be: container platforms set variables named after services.
            let hint = keys::suggestion(&name, KEYS.iter().map(Key::env_name));
            faults.stray(format!("unknown environment variable {name}{hint}"));
        }
    }
}

/// The fault of one value; the value itself only where it is no secret.
fn describe(key: &Key, given: &Given, origin: &Origin, problem: &str) -> String {
    let name = key.name;
    match given {
        _ if key.secret => format!("{name} ({origin}): the value {problem}"),
        Given::Many(items) => format!("{name} ({origin}): {} {problem}", echo(&items.join(", "))),
        Given::One(text) => format!("{name} ({origin}): {} {problem}", echo(text)),
    }
}

fn echo(text: &str) -> String {
    let short: String = text.chars().take(ECHO_MAX).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{more}")
}
