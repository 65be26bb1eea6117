//! CPU time of this process and of the database: on a machine that others use too, it says more than the clock.

use std::fs;

use serde::Serialize;

/// Clock ticks of /proc a second, on every Linux that Rust has as a target.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time in seconds, or microseconds a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Cpu {
    /// Of this process: the worker, and a sink that is ours.
    pub(super) process: f64,
    /// Of the database server.
    pub(super) database: f64,
}

impl Cpu {
    /// What was used until now by this process and by the server of process `backend`; `None` where
    /// the system does not say.
    pub(super) fn used(backend: u32) -> Option<Self> {
        let own = stat("self")?;
        let postmaster = stat(&backend.to_string())?.parent;
        let mut database = stat(&postmaster.to_string())?;
        let children = fs::read_dir("/proc").ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.parse::<u32>().ok()?;
            stat(&name).filter(|it| it.parent == postmaster)
        });
        for child in children {
            database.ticks += child.ticks;
        }
        let seconds = |ticks: u64| {
            #[expect(clippy::cast_precision_loss, reason = "centuries of ticks are exact")]
            let ticks = ticks as f64;
            ticks / TICKS_PER_SECOND
        };
        Some(Self {
            process: seconds(own.ticks),
            database: seconds(database.ticks + database.reaped),
        })
    }

    /// What was used since `before`, in microseconds for each of `messages`.
    pub(super) fn per_message(self, before: Self, messages: u32) -> Self {
        let share =
            |now: f64, before: f64| ((now - before) / f64::from(messages) * 1e7).round() / 10.0;
        Self {
            process: share(self.process, before.process),
            database: share(self.database, before.database),
        }
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
    /// Of children that ended.
    reaped: u64,
}

/// Fields of proc(5), counted behind the name of the program, which may hold anything.
fn stat(pid: &str) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |idx: usize| fields.get(idx)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        reaped: number(13)? + number(14)?,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_is_seen() {
        let own = std::process::id();
        let before = Cpu::used(own).unwrap();
        let mut sum = 0_u64;
        while Cpu::used(own).unwrap().process <= before.process {
            sum = (0..1_000_000).fold(sum, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(sum != 1, "the loop is not optimised away");
    }
}
