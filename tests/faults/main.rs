//! The fault harness: real workers on a real database, a peer that counts, and random faults.
//!
//! ```text
//!   producer ──────────────▶ PostgreSQL ◀── proxy ──┐
//!                                                   workers (processes)
//!                                  peer ◀── proxy ──┘
//! ```
//!
//! A short form runs with all tests; `POSTRIDER_FAULTS=10 cargo test --release --test faults --
//! --nocapture` runs for ten minutes. `docs/faults.md` says what is drawn and what is checked.

#![allow(clippy::unwrap_used)] // tests; clippy exempts only those inside `#[test]`

mod database;
mod drill;
mod fault;
mod fleet;
#[path = "../hostile/generator.rs"]
#[allow(dead_code)] // what only reads is for those who measure
mod generator;
mod hostile;
mod ledger;
mod peer;
#[path = "../hostile/peers.rs"]
mod peers;
mod plan;
mod producer;
mod proxy;
mod scene;
mod support;
#[path = "../hostile/template.rs"]
mod template;
#[path = "../hostile/value.rs"]
mod value;
#[path = "../shared/wait.rs"]
mod wait;

use plan::Plan;
use scene::Scene;

#[test]
fn no_message_is_lost_and_none_is_sent_more_often_than_the_faults_allow() {
    let plan = Plan::from_env();
    println!("{plan}");
    let mut scene = Scene::set(&plan);
    let tally = scene.play(plan);
    println!("{}", scene.settle(&tally));
}

#[test]
fn a_worker_stopped_under_load_leaves_no_lease_and_makes_no_duplicate() {
    drill::stops();
}

#[test]
fn deliveries_go_on_soon_after_the_database_is_back() {
    drill::away();
}

#[test]
fn a_worker_under_load_does_not_grow() {
    drill::soak();
}
