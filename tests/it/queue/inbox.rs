//! The inbox entry that a commit writes.

use postrider::enqueue::Notification;
use postrider::message::InboxEntry;
use postrider::outcome::{Outcome, Receipt};
use postrider::store::{Store, StoreError};
use serde_json::{Value, json};

use crate::rig::{Leases, Rig, acquire_one, boxed, settle, to_inbox};

#[test]
fn an_entry_has_what_was_rendered_and_the_recipient_targets_and_time_of_its_message() {
    let mut rig = Rig::new();
    let targets = ["plain", "a,b", "{c}", "\"d\\", "", "null"].map(str::to_owned);
    let id = rig.put(&Notification { targets: targets.to_vec(), ..to_inbox() });
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    assert_eq!(lease.message().targets, targets);
    store.commit(&settle(vec![lease], &boxed())).unwrap();
    let sql = "select to_jsonb(i) || jsonb_build_object('as_sent', i.created_at = h.created_at
                                                       and i.template_id = h.template_id)
                 from postrider.inbox i join postrider.history h using (id) where id = $1";
    let entry: Value = rig.client.query_one(sql, &[&id.0]).unwrap().get(0);
    let wanted = json!({
        "recipient_id": "ada", "title": "Hello", "content": "Hello Ada", "targets": targets,
        "actions": [{"label": "Open", "url": "https://app.example.com/"}],
        "read_at": null, "as_sent": true,
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&entry[key], value, "{key}");
    }
}

#[test]
fn an_entry_that_cannot_be_stored_writes_none_of_its_batch() {
    let mut rig = Rig::new();
    rig.fill(3);
    let mut store = rig.store();
    let mut batch = settle(store.leases(3, true), &boxed());
    let title = "a\0b".to_owned();
    let entry = InboxEntry { title, content: String::new(), actions: Vec::new() };
    batch[1].outcome = Outcome::Sent(Receipt { inbox: Some(entry), ..Receipt::default() });
    let err = store.commit(&batch).unwrap_err();
    assert!(matches!(err, StoreError::Refused { .. }), "{err}");
    assert_eq!((rig.count("messages"), rig.count("history"), rig.count("inbox")), (3, 0, 0));
}
