//! What the notifications of a call have in common.

use std::time::SystemTime;

use postgres::types::{Json, Type};
use postgres::{GenericClient, Row};
use uuid::Uuid;

use crate::enqueue::kind::{InCommon, Kind};
use crate::enqueue::{Notification, may_write};

const KINDS: &str = include_str!("../../store/sql/enqueue_copy_kinds.sql");

/// Looking up more of them at once would cost what is gained.
const COUNT_MAX: usize = 100;

/// A kind that the database knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) template_id: Uuid,
    /// How its documents end.
    pub(super) tail: String,
    /// Unless the recipient's preference says otherwise.
    pub(super) disabled: bool,
    pub(super) methods: Vec<String>,
    /// By one of the methods.
    pub(super) mailed: bool,
    pub(super) endpoint: Option<String>,
    pub(super) priority: i16,
    pub(super) max_attempts: Option<i32>,
}

/// Those of a call.
#[derive(Debug)]
pub(in crate::enqueue) struct Kinds<'n> {
    asked: InCommon<'n>,
    /// `None`: nothing can be enqueued of it.
    known: Vec<Option<Known>>,
    /// Whether the caller is in a transaction.
    pub(super) in_transaction: bool,
}

impl<'n> Kinds<'n> {
    /// `None` where they are too many, or the caller may not write into the tables.
    pub(in crate::enqueue) fn look_up(
        client: &mut impl GenericClient,
        notifications: &'n [Notification],
    ) -> Result<Option<Self>, postgres::Error> {
        let Some(before) = may_write(client)? else { return Ok(None) };
        let Some(asked) = in_common(notifications) else { return Ok(None) };
        let (known, began) = ask(client, &asked.kinds)?;
        Ok(Some(Self { asked, known, in_transaction: began == Some(before) }))
    }

    /// Whether they are still the same.
    pub(super) fn stand(&self, client: &mut impl GenericClient) -> Result<bool, postgres::Error> {
        Ok(ask(client, &self.asked.kinds)?.0 == self.known)
    }

    /// Those of the notifications from a place on.
    pub(super) fn from(&self, start: usize) -> impl Iterator<Item = Option<&Known>> {
        self.asked.nos[start..].iter().map(|&no| self.known[no].as_ref())
    }
}

/// `None` if the kinds are too many, or the database could not even read them.
fn in_common(notifications: &[Notification]) -> Option<InCommon<'_>> {
    let mut common = InCommon::default();
    for notification in notifications {
        common.push(notification);
        if COUNT_MAX < common.kinds.len() {
            return None;
        }
    }
    common.kinds.iter().all(Kind::is_readable).then_some(common)
}

/// What the database knows of each, and when the transaction began in which it was asked.
fn ask(
    client: &mut impl GenericClient,
    kinds: &[Kind<'_>],
) -> Result<(Vec<Option<Known>>, Option<SystemTime>), postgres::Error> {
    let rows = client.query_typed(KINDS, &[(&Json(kinds), Type::JSONB)])?;
    let began = rows.first().map(|row| row.get("began"));
    Ok((rows.iter().map(known).collect(), began))
}

fn known(row: &Row) -> Option<Known> {
    // Of a kind that is not faulty nothing else is null that must not be.
    if row.get::<_, Option<bool>>("faulty") != Some(false) {
        return None;
    }
    Some(Known {
        template_id: row.get("template_id"),
        tail: row.get("tail"),
        disabled: row.get("disabled"),
        methods: row.get("methods"),
        mailed: row.get("mailed"),
        endpoint: row.get("endpoint"),
        priority: i16::try_from(row.get::<_, i32>("priority")).ok()?,
        max_attempts: row.get("max_attempts"),
    })
}
