//! Answers as tables for people or one JSON document, and failures as one line.

use std::io::{self, Write};
use std::process::ExitCode;

use postrider::store::StoreError;
use postrider::store::migrate::MigrateError;
use postrider::worker::WorkerError;
use serde::Serialize;

/// Widest cell of a table, in characters.
const CELL_MAX: usize = 72;

/// How an answer is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints `value` as JSON, or else what `text` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failed> {
        let mut answer = if self.json {
            serde_json::to_string(value).map_err(|err| Failed::new(err.to_string()))?
        } else {
            text(value)
        };
        if !answer.is_empty() && !answer.ends_with('\n') {
            answer.push('\n');
        }
        // A reader that went away (`| head`) is no failure of ours.
        match io::stdout().write_all(answer.as_bytes()) {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failed::new(err.to_string()))
            }
            _ => Ok(()),
        }
    }
}

/// Rows under their headings, columns aligned; cells cut and without line breaks.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return "nothing to show\n".into();
    }
    let lines: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned))
        .chain(rows.into_iter().map(|row| clip_row(&row)))
        .collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// All cells but the last one cut: a reason is read to its end.
fn clip_row<const N: usize>(row: &[String; N]) -> [String; N] {
    std::array::from_fn(|at| {
        let clean = row[at].chars().map(|c| if c.is_control() { ' ' } else { c });
        if at + 1 == N { clean.collect() } else { clip(&clean.collect::<String>()) }
    })
}

fn clip(clean: &str) -> String {
    match clean.char_indices().nth(CELL_MAX) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean.to_owned(),
    }
}

/// Why a command did not do what it was told: one line, and an exit code.
#[derive(Debug)]
pub(crate) struct Failed {
    line: String,
    code: u8,
}

impl Failed {
    /// It was tried and failed: code 1.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), code: 1 }
    }

    /// It was asked for in a wrong way: code 2.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self { line: line.into(), code: 2 }
    }

    pub(crate) fn report(self) -> ExitCode {
        eprintln!("postrider: {}", self.line);
        ExitCode::from(self.code)
    }
}

impl From<StoreError> for Failed {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::Setting(line) => Self::usage(line),
            err => Self::new(err.to_string()),
        }
    }
}

impl From<MigrateError> for Failed {
    fn from(err: MigrateError) -> Self {
        match err {
            MigrateError::Store(err) => err.into(),
            err => Self::new(err.to_string()),
        }
    }
}

impl From<WorkerError> for Failed {
    fn from(err: WorkerError) -> Self {
        match err {
            WorkerError::Setting(line) => Self::usage(line),
            WorkerError::Schema(err) => err.into(),
            err => Self::new(err.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_cell_breaks_its_line() {
        let long = || "x".repeat(100);
        let rows = vec![["é".into(), "a\nb".into()], ["long".into(), long()], [long(), long()]];
        let text = table(["id", "text"], rows);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert!(lines[0].starts_with("id  ") && lines[0].ends_with("  text"));
        assert!(lines[1].starts_with("é  ") && lines[1].ends_with("  a b"));
        assert_eq!(lines[2].chars().count(), CELL_MAX + 1 + 2 + 100);
        assert_eq!(lines[3].chars().count(), lines[2].chars().count());
    }
}
