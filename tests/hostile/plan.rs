//! How long, how much, who, and from which seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Time of each role in the short form.
const SHORT: Duration = Duration::from_secs(6);

/// What is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Who owns the tables, and saves templates and endpoints.
    Owner,
    /// A login that may enqueue.
    Enqueue,
    /// A login that may do what a worker does.
    Worker,
    /// A login without rights.
    Nobody,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Owner, Self::Enqueue, Self::Worker, Self::Nobody];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Enqueue => "enqueue",
            Self::Worker => "worker",
            Self::Nobody => "nobody",
        }
    }
}

/// What a run is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// One after the other.
    pub(crate) roles: Vec<Role>,
    /// Time of each role.
    pub(crate) length: Duration,
    /// Good messages a second.
    pub(crate) good: u32,
    /// Hostile statements a second.
    pub(crate) hostile: u32,
}

impl Plan {
    pub(crate) fn from_env() -> Self {
        let role = std::env::var("POSTRIDER_HOSTILE_ROLE").unwrap_or_default();
        let all = role.is_empty() || role == "all";
        let roles: Vec<Role> =
            Role::ALL.into_iter().filter(|it| all || it.name() == role).collect();
        assert!(
            !roles.is_empty(),
            "POSTRIDER_HOSTILE_ROLE={role}: owner, enqueue, worker, nobody, all"
        );
        Self {
            seed: number("POSTRIDER_HOSTILE_SEED").unwrap_or_else(|| fastrand::u64(..)),
            roles,
            length: number("POSTRIDER_HOSTILE").map_or(SHORT, Duration::from_secs),
            good: number("POSTRIDER_HOSTILE_GOOD").unwrap_or(20),
            hostile: number("POSTRIDER_HOSTILE_RATE").unwrap_or(4),
        }
    }
}

fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|it| !it.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, roles, length, good, hostile } = self;
        write!(f, "POSTRIDER_HOSTILE_SEED={seed}: {roles:?}, {length:?} each, ")?;
        write!(f, "{good} good and {hostile} hostile a second")
    }
}
