//! What is stored of an outcome that the database refuses as it is.
//!
//! Its texts are given up first, then its side effects. What became of the message stays as it is: a message
//! that was sent is never sent again for the sake of a text. There is one exception: a delivery to the inbox
//! *is* the entry, so where that is refused the message has failed.

use crate::lease::Settled;
use crate::outcome::{Outcome, Receipt};

/// Code of an outcome whose own could not be stored. `commit.sql` knows it.
const REFUSED: &str = "refused";
/// The method whose deliveries are inbox entries and nothing else.
const INBOX: &str = "inbox";

/// An outcome as it may be stored.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) outcome: Outcome,
    /// What was given up, if anything.
    pub(super) lacks: Option<&'static str>,
}

/// The forms of an outcome that was refused with this SQLSTATE, in the order in which they are tried. The first
/// is the outcome as it is: that it was refused may have come from the session.
pub(super) fn forms(settled: &Settled, sqlstate: &str) -> Vec<Form> {
    let note = |what: &str| format!("the database refused {what} (SQLSTATE {sqlstate})");
    let mut last = settled.outcome.clone();
    let mut forms = vec![Form { outcome: last.clone(), lacks: None }];
    let mut add = |outcome: Outcome, lacks| {
        if outcome != last {
            last = outcome.clone();
            forms.push(Form { outcome, lacks: Some(lacks) });
        }
        last.clone()
    };
    let outcome = add(without_note(settled.outcome.clone(), note("the note")), "its note");
    let outcome = add(without_code(outcome, note("note and code")), "its note and code");
    let effects = match &outcome {
        Outcome::BadAddress { .. } => note("to suppress the address"),
        _ => note("the inbox entry"),
    };
    let effectless = without_effects(outcome, &settled.method, effects);
    add(effectless, "its note, code and side effects");
    forms
}

fn without_note(outcome: Outcome, note: String) -> Outcome {
    match outcome {
        Outcome::Sent(receipt) if receipt.detail.is_some() => {
            Outcome::Sent(Receipt { detail: Some(note), ..receipt })
        }
        Outcome::Deferred { delay, counted, code, .. } => {
            Outcome::Deferred { delay, counted, code, reason: note }
        }
        Outcome::Failed { counted, code, .. } => Outcome::Failed { counted, code, reason: note },
        Outcome::BadAddress { code, .. } => Outcome::BadAddress { code, reason: note },
        Outcome::Expired { counted, .. } => Outcome::Expired { counted, reason: note },
        Outcome::Sent(_) | Outcome::Inhibited | Outcome::Released { .. } => outcome,
    }
}

/// Side effects that hang on the code go with it.
fn without_code(outcome: Outcome, note: String) -> Outcome {
    let code = REFUSED.to_owned();
    match outcome {
        Outcome::Sent(receipt) => {
            Outcome::Sent(Receipt { code: Some(code), detail: Some(note), ..receipt })
        }
        Outcome::Deferred { delay, counted, .. } => {
            Outcome::Deferred { delay, counted, code, reason: note }
        }
        Outcome::Failed { counted, .. } => Outcome::Failed { counted, code, reason: note },
        Outcome::BadAddress { .. } => Outcome::BadAddress { code, reason: note },
        Outcome::Inhibited | Outcome::Expired { .. } | Outcome::Released { .. } => outcome,
    }
}

fn without_effects(outcome: Outcome, method: &str, note: String) -> Outcome {
    let failed = |reason| Outcome::Failed { counted: true, code: REFUSED.to_owned(), reason };
    match outcome {
        Outcome::Sent(Receipt { inbox: Some(_), .. }) if method == INBOX => failed(note),
        Outcome::Sent(receipt @ Receipt { inbox: Some(_), .. }) => {
            Outcome::Sent(Receipt { inbox: None, detail: Some(note), ..receipt })
        }
        Outcome::BadAddress { .. } => failed(note),
        _ => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use uuid::Uuid;

    use super::*;
    use crate::lease::{Lease, LeaseKey, Message};
    use crate::message::{InboxEntry, MessageId};

    /// What is stored of an outcome, by what is given up.
    fn check(method: &str, outcome: &Outcome, expected: &[Outcome]) {
        let now = Instant::now();
        let key = LeaseKey { id: MessageId(Uuid::from_u128(1)), claim: 1 };
        let (method, outcome) = (method.to_owned(), outcome.clone());
        let lease = Lease::new(key, now, Message::sample(&method));
        let settled = lease.settle(now, outcome);
        let forms = forms(&settled, "P0001");
        assert!(forms[0].lacks.is_none() && forms[0].outcome == settled.outcome);
        let reduced: Vec<Outcome> = forms.into_iter().skip(1).map(|form| form.outcome).collect();
        assert_eq!(reduced, expected);
    }

    fn note(what: &str) -> String {
        format!("the database refused {what} (SQLSTATE P0001)")
    }

    fn sent(code: &str, detail: String, inbox: Option<InboxEntry>) -> Outcome {
        Outcome::Sent(Receipt { code: Some(code.into()), detail: Some(detail), inbox })
    }

    #[test]
    fn the_note_is_given_up_first_then_the_code_then_the_side_effects_and_never_the_verdict() {
        let entry = InboxEntry { title: "t".into(), content: "c".into(), actions: Vec::new() };
        check(
            "push",
            &sent("250", "принято".into(), Some(entry.clone())),
            &[
                sent("250", note("the note"), Some(entry.clone())),
                sent("refused", note("note and code"), Some(entry.clone())),
                sent("refused", note("the inbox entry"), None),
            ],
        );
        let deferred = |code: &str, reason: String| Outcome::Deferred {
            delay: Duration::from_secs(5),
            counted: true,
            code: code.into(),
            reason,
        };
        check(
            "webhook",
            &deferred("http_503", "недоступен".into()),
            &[deferred("http_503", note("the note")), deferred("refused", note("note and code"))],
        );
        let bad = |code: &str, reason: String| Outcome::BadAddress { code: code.into(), reason };
        let failed = |reason| Outcome::Failed { counted: true, code: "refused".into(), reason };
        check(
            "smtp",
            &bad("550", "нет".into()),
            &[
                bad("550", note("the note")),
                bad("refused", note("note and code")),
                failed(note("to suppress the address")),
            ],
        );
        check("smtp", &Outcome::Inhibited, &[]);
        check("smtp", &Outcome::Released { delay: Duration::ZERO }, &[]);
    }

    #[test]
    fn a_message_to_the_inbox_whose_entry_is_refused_has_failed() {
        let entry = InboxEntry { title: "t".into(), content: "c".into(), actions: Vec::new() };
        let boxed = Receipt { inbox: Some(entry.clone()), ..Receipt::default() };
        check(
            "inbox",
            &Outcome::Sent(boxed),
            &[
                sent("refused", note("note and code"), Some(entry)),
                Outcome::Failed {
                    counted: true,
                    code: "refused".into(),
                    reason: note("the inbox entry"),
                },
            ],
        );
    }
}
