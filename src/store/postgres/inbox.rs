//! Messages that go to the inbox without a lease: what locks one delivers it, in one transaction.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use postgres::Row;
use uuid::Uuid;

use super::PgStore;
use super::rows::acquired;
use super::session::{End, Hot, Session};
use crate::lease::{Lease, Settled};
use crate::message::InboxEntry;
use crate::store::typed::Param;
use crate::store::{Place, StoreError};

/// What the inbox entry of a locked message takes from its row.
pub(super) struct Locked {
    place: String,
    recipient_id: String,
    template_id: Uuid,
    /// As PostgreSQL writes them: a column of arrays of different lengths cannot be sent.
    targets: String,
    created_at: SystemTime,
}

/// Messages with their entries, a vector for each column.
#[derive(Default)]
struct Entries<'a> {
    places: Vec<&'a str>,
    ids: Vec<Uuid>,
    recipients: Vec<&'a str>,
    templates: Vec<Uuid>,
    targets: Vec<&'a str>,
    titles: Vec<&'a str>,
    contents: Vec<&'a str>,
    actions: Vec<String>,
    created: Vec<SystemTime>,
}

impl<'a> Entries<'a> {
    fn push(&mut self, id: Uuid, locked: &'a Locked, entry: &'a InboxEntry) {
        self.places.push(&locked.place);
        self.ids.push(id);
        self.recipients.push(&locked.recipient_id);
        self.templates.push(locked.template_id);
        self.targets.push(&locked.targets);
        self.titles.push(&entry.title);
        self.contents.push(&entry.content);
        self.actions.push(serde_json::to_string(&entry.actions).expect("two strings make JSON"));
        self.created.push(locked.created_at);
    }

    fn params(&self) -> [&dyn Param; 9] {
        [
            &self.places,
            &self.ids,
            &self.recipients,
            &self.templates,
            &self.targets,
            &self.titles,
            &self.contents,
            &self.actions,
            &self.created,
        ]
    }
}

impl PgStore {
    pub(super) fn find_places(
        &mut self,
        limit: usize,
        ahead: usize,
    ) -> Result<Vec<Place>, StoreError> {
        if self.session.is_none() || self.floors.sweep_is_due() {
            return Ok(Vec::new()); // It is for an acquire to read the whole queue.
        }
        let lanes = self.floors.lanes();
        let (floor_at, floor_id) = self.floors.of(lanes);
        let [most, ahead] = [limit, ahead].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let lanes = lanes.as_slice();
        let rows = self.run(|session| {
            session.query(Hot::FindInbox, &[&lanes, &floor_at, &floor_id, &most, &ahead])
        })?;
        if rows.len() < limit || !rows.iter().all(|row| row.get("direct")) {
            self.floors.take_back_turn(); // For the acquire that follows.
            return Ok(Vec::new());
        }
        for row in &rows {
            self.floors.raise((row.get("priority"), row.get("due_at"), row.get("id")));
        }
        Ok(rows.iter().map(|row| Place(row.get("place"))).collect())
    }

    pub(super) fn lock_places(&mut self, places: &[Place]) -> Result<Vec<Lease>, StoreError> {
        let began = Instant::now();
        let until = began + self.lease;
        let places: Vec<&str> = places.iter().map(|place| place.0.as_str()).collect();
        let rows = self.run(|session| {
            session.begin()?;
            session.query(Hot::LockInbox, &[&places])
        })?;
        self.locked.clear();
        let mut leases = Vec::with_capacity(rows.len());
        for row in &rows {
            let lease = acquired(row, began, until)?.lease;
            self.locked.insert(lease.key().id.0, locked(row));
            leases.push(lease);
        }
        Ok(leases)
    }

    pub(super) fn deliver_locked(&mut self, settled: &[Settled]) -> Result<(), StoreError> {
        let locked = std::mem::take(&mut self.locked);
        let entries = entries(&locked, settled);
        let wanted = i64::try_from(entries.ids.len()).unwrap_or(i64::MAX);
        let delivered = if wanted == 0 {
            Ok(0)
        } else if !self.session.as_ref().is_some_and(Session::in_transaction) {
            return Err(StoreError::Unavailable(
                "the connection that had locked them is lost".into(),
            ));
        } else {
            self.run(|session| session.query(Hot::DeliverInbox, &entries.params()))
                .map(|rows| rows[0].get::<_, i64>(0)) // There always is one.
        };
        let end = if delivered == Ok(wanted) { End::Commit } else { End::Rollback };
        if self.session.is_some() {
            self.run(|session| session.end(end))?;
        }
        match delivered? {
            count if count == wanted => Ok(()),
            count => {
                Err(StoreError::Unreadable(format!("{count} of {wanted} locked messages ended")))
            }
        }
    }
}

fn locked(row: &Row) -> Locked {
    Locked {
        place: row.get("place"),
        recipient_id: row.get("recipient_id"),
        template_id: row.get("template_id"),
        targets: row.get("targets_text"),
        created_at: row.get("created_at"),
    }
}

/// The columns of those that were locked and have an entry.
fn entries<'a>(locked: &'a HashMap<Uuid, Locked>, settled: &'a [Settled]) -> Entries<'a> {
    let mut entries = Entries::default();
    for settled in settled {
        let id = settled.key.id.0;
        if let (Some(locked), Some(entry)) = (locked.get(&id), settled.outcome.inbox_entry()) {
            entries.push(id, locked, entry);
        }
    }
    entries
}
