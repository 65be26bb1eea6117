//! Many notifications by COPY, for callers who may write into the tables: less than half of what the function costs.
//!
//! What the function says of a notification, an error above all, is left to it: whatever is not plain goes there.

use std::collections::HashMap;
use std::thread;
use std::time::SystemTime;

use crossbeam_channel::bounded;
use postgres::GenericClient;
use postgres::types::Type;
use uuid::Uuid;

use super::{EnqueueError, Enqueued, Notification, RING, batch};
use crate::message::MessageId;

pub(super) use kinds::Kinds;

use chunk::Chunk;
use kinds::Known;
use rows::Rows;

mod chunk;
mod kinds;
mod rows;

/// With fewer, the round trips cost more than is gained.
pub(super) const COUNT_MIN: usize = 100;

/// The day of chosen keys, which hold for ever.
const INFINITY: i32 = i32::MAX;

const LOOK: &str = include_str!("../store/sql/enqueue_copy_look.sql");
const KEYS: &str = include_str!("../store/sql/enqueue_copy_keys.sql");
const MESSAGES: &str = include_str!("../store/sql/enqueue_copy_messages.sql");
const SAVEPOINT: &str = include_str!("../store/sql/enqueue_copy_savepoint.sql");
const RELEASE: &str = include_str!("../store/sql/enqueue_copy_release.sql");
const ROLL_BACK: &str = include_str!("../store/sql/enqueue_copy_roll_back.sql");

/// Enqueues `notifications` a chunk a transaction, each prepared while the one before is written. A chunk that does
/// not fit goes to the function.
pub(super) fn enqueue_many(
    client: &mut impl GenericClient,
    notifications: &[Notification],
    kinds: &Kinds<'_>,
) -> Result<Vec<Enqueued>, EnqueueError> {
    let (prepared, chunks) = bounded(1);
    let prepare = move || {
        let mut start = 0;
        while start < notifications.len() {
            let (end, chunk) = Chunk::of(notifications, kinds, start);
            if prepared.send((start..end, chunk)).is_err() {
                return; // An error ended the call.
            }
            start = end;
        }
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("enqueue".into());
        let Ok(preparing) = builder.spawn_scoped(scope, prepare) else {
            return batch::enqueue_many(client, notifications, 0); // The process may have no more threads.
        };
        let mut results = Vec::with_capacity(notifications.len());
        for (range, chunk) in chunks {
            let (before, these) = (range.start, &notifications[range]);
            let copied = chunk.map(|chunk| copy(client, these, &chunk, kinds)).transpose();
            match copied.map_err(EnqueueError::Database)?.flatten() {
                Some(copied) => results.extend(copied),
                None => results.extend(batch::enqueue_many(client, these, before)?),
            }
        }
        preparing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(results)
    })
}

/// Writes a chunk in a transaction, or in the caller's. `None`, and nothing is written, where the database refuses it;
/// after an error the caller's can only be rolled back.
fn copy(
    client: &mut impl GenericClient,
    notifications: &[Notification],
    chunk: &Chunk<'_>,
    kinds: &Kinds<'_>,
) -> Result<Option<Vec<Enqueued>>, postgres::Error> {
    if kinds.in_transaction {
        // The client knows only of those that were begun through it.
        client.batch_execute(SAVEPOINT)?;
        let written = write(client, notifications, chunk, kinds);
        return match written {
            Ok(written) => client.batch_execute(RELEASE).map(|()| written),
            Err(err) if is_refusal(&err) => client.batch_execute(ROLL_BACK).map(|()| None),
            Err(err) => Err(err),
        };
    }
    let mut tx = client.transaction()?;
    match write(&mut tx, notifications, chunk, kinds) {
        Ok(written) => tx.commit().map(|()| written),
        Err(err) => {
            let ended = tx.rollback();
            if is_refusal(&err) { ended.map(|()| None) } else { Err(err) }
        }
    }
}

/// Whether the rows are at fault: a key that is taken, a value.
fn is_refusal(err: &postgres::Error) -> bool {
    let refuses = |code: &str| ["22", "23", "PR"].iter().any(|class| code.starts_with(class));
    err.code().is_some_and(|state| refuses(state.code()))
}

/// `None`, and nothing is written, if the kinds are not what they were.
fn write(
    tx: &mut impl GenericClient,
    notifications: &[Notification],
    chunk: &Chunk<'_>,
    kinds: &Kinds<'_>,
) -> Result<Option<Vec<Enqueued>>, postgres::Error> {
    if !kinds.stand(tx)? {
        return Ok(None);
    }
    let look = Look::take(tx, notifications, chunk)?;
    let wanted: Vec<bool> =
        notifications.iter().zip(&chunk.kinds).map(|(it, kind)| look.wants(it, kind)).collect();

    let mut keys = Rows::new(tx.copy_in(KEYS)?);
    for key in chunk.keys.iter().filter(|key| wanted[key.no]) {
        keys.row(2)?.int4(if key.chosen { INFINITY } else { look.today }).uuid(key.value);
    }
    keys.finish()?;

    let mut ids = Ids::from(look.ticks);
    let mut messages = Rows::new(tx.copy_in(MESSAGES)?);
    let mut results = Vec::with_capacity(notifications.len());
    for (no, (it, kind)) in notifications.iter().zip(&chunk.kinds).enumerate() {
        if !wanted[no] {
            results.push(Enqueued::Disabled);
            continue;
        }
        let of_methods: Vec<_> =
            kind.methods.iter().map(|method| (MessageId(ids.next()), method.clone())).collect();
        let notification_id = of_methods[0].0.0;
        for (id, method) in &of_methods {
            let endpoint = kind.endpoint.as_deref().filter(|_| method == "webhook");
            messages
                .row(13)?
                .uuid(id.0)
                .uuid(notification_id)
                .uuid(kind.template_id)
                .timestamp(it.schedule_at.map_or(look.now, |at| at.max(look.now)))
                .option(it.expires_at, Rows::timestamp)
                .int2(kind.priority)
                .option(kind.max_attempts, Rows::int4)
                .text(method)
                .text(&it.recipient.id)
                .option(endpoint, Rows::text)
                .text(&it.created_by)
                .texts(&it.targets)
                .text(chunk.document(no));
        }
        results.push(Enqueued::Enqueued { notification_id, messages: of_methods });
    }
    if 0 < messages.finish()? {
        tx.query_typed(RING, &[])?;
    }
    Ok(Some(results))
}

/// What the database says as a transaction begins.
struct Look {
    now: SystemTime,
    today: i32,
    ticks: i64,
    /// Whether a recipient disabled a template, where he said so.
    preferences: HashMap<Uuid, HashMap<String, bool>>,
}

impl Look {
    fn take(
        tx: &mut impl GenericClient,
        notifications: &[Notification],
        chunk: &Chunk<'_>,
    ) -> Result<Self, postgres::Error> {
        let recipients: Vec<&str> = notifications.iter().map(|it| &*it.recipient.id).collect();
        let templates: Vec<Uuid> = chunk.kinds.iter().map(|kind| kind.template_id).collect();
        let rows = tx.query_typed(
            LOOK,
            &[(&recipients, Type::TEXT_ARRAY), (&templates, Type::UUID_ARRAY)],
        )?;
        let mut preferences: HashMap<_, HashMap<_, _>> = HashMap::new();
        for row in &rows {
            if let Some(recipient_id) = row.get("recipient_id") {
                let of_template = preferences.entry(row.get("template_id")).or_default();
                of_template.insert(recipient_id, row.get("disabled"));
            }
        }
        let first = &rows[0]; // There is always one.
        Ok(Self {
            now: first.get("now"),
            today: first.get("today"),
            ticks: first.get("ticks"),
            preferences,
        })
    }

    fn wants(&self, notification: &Notification, kind: &Known) -> bool {
        let of_template = self.preferences.get(&kind.template_id);
        let own = of_template.and_then(|it| it.get(&notification.recipient.id));
        !own.copied().unwrap_or(kind.disabled)
    }
}

/// Makes the ids of a chunk, as `postrider.uuid_v7_from` does: as far apart as those of enqueues one after the
/// other would be at best, and in the same order.
struct Ids {
    ticks: i64,
    seed: u64,
}

impl Ids {
    fn from(ticks: i64) -> Self {
        Self { ticks, seed: Uuid::new_v4().as_u64_pair().0 }
    }

    fn next(&mut self) -> Uuid {
        self.ticks += 8;
        self.seed = self.seed.wrapping_add(1);
        let time = (self.ticks >> 12 << 16) | 0x7000 | (self.ticks & 0xfff);
        Uuid::from_u64_pair(time.cast_unsigned(), (self.seed & (u64::MAX >> 2)) | 1 << 63)
    }
}
