//! Rows in PostgreSQL's binary format of COPY (its manual, "COPY", "Binary Format").
//!
//! The client's own writer is asked for each row anew whether the server has something to say, which takes longer
//! than the server takes for a short row.

use std::io::Write;
use std::time::{Duration, SystemTime};

use postgres::{CopyInWriter, Error};
use uuid::Uuid;

/// Octets that are sent at once: enough that sending them costs little, and few enough that the server is soon at work.
const PIECE: usize = 32 << 10;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const TEXT_OID: i32 = 25;
/// Before the first instant of PostgreSQL's clock.
const EPOCH: Duration = Duration::from_hours(262_968);

/// Rows on their way. Lengths are 32 bits wide, as PostgreSQL's own values are.
pub(super) struct Rows<'a> {
    out: CopyInWriter<'a>,
    piece: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(out: CopyInWriter<'a>) -> Self {
        let mut piece = Vec::with_capacity(2 * PIECE);
        piece.extend(SIGNATURE);
        piece.extend([0; 8]); // no flags, no extension
        Self { out, piece }
    }

    /// Begins a row.
    pub(super) fn row(&mut self, fields: i16) -> Result<&mut Self, Error> {
        if PIECE < self.piece.len() {
            self.send()?;
        }
        self.piece.extend(fields.to_be_bytes());
        Ok(self)
    }

    /// Ends all, and returns how many were written.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        self.piece.extend((-1_i16).to_be_bytes());
        self.send()?;
        self.out.finish()
    }

    fn send(&mut self) -> Result<(), Error> {
        let sent = self.out.write_all(&self.piece);
        self.piece.clear();
        sent.map_err(|err| {
            let inner = err.into_inner().and_then(|err| err.downcast().ok());
            *inner.expect("the writer has errors of its client only")
        })
    }

    fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.piece.extend(length(octets.len()).to_be_bytes());
        self.piece.extend(octets);
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.piece.extend((-1_i32).to_be_bytes());
        self
    }

    pub(super) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.octets(value.as_bytes())
    }

    pub(super) fn int2(&mut self, value: i16) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    /// Also a date, in days since 2000.
    pub(super) fn int4(&mut self, value: i32) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    /// In microseconds since 2000.
    pub(super) fn timestamp(&mut self, value: SystemTime) -> &mut Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let value = match value.duration_since(SystemTime::UNIX_EPOCH + EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        };
        self.octets(&value.to_be_bytes())
    }

    /// Also a jsonb, behind the version of its form.
    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.octets(value.as_bytes())
    }

    pub(super) fn texts(&mut self, values: &[String]) -> &mut Self {
        let start = self.piece.len();
        let dimension = (!values.is_empty()).then(|| [length(values.len()), 1]);
        let head = [0, i32::from(dimension.is_some()), 0, TEXT_OID]; // its length, dimensions, no nulls
        for number in head.into_iter().chain(dimension.into_iter().flatten()) {
            self.piece.extend(number.to_be_bytes());
        }
        for value in values {
            self.text(value);
        }
        let octets = length(self.piece.len() - start - 4);
        self.piece[start..start + 4].copy_from_slice(&octets.to_be_bytes());
        self
    }

    /// Null for none.
    pub(super) fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => put(self, value),
            None => self.null(),
        }
    }
}

fn length(octets: usize) -> i32 {
    i32::try_from(octets).expect("a notification is far shorter than 2 GiB")
}
