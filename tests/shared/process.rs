//! Memory of a process of the server.

use std::fs;

/// Its private memory (`RssAnon`), in KiB; 0 where it is gone.
pub(crate) fn private_memory(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
