//! Hostile among good: whatever somebody does with the rights that he has, good messages arrive
//! once and in time, and neither the worker nor the server takes much memory for it.
//!
//! ```text
//!   good ────▶ PostgreSQL ◀──▶ worker ──▶ sinks
//!   hostile ──▶                     └───▶ far ends that do not do what they should
//! ```
//!
//! A short form runs with all tests; `POSTRIDER_HOSTILE=900 cargo test --release --test hostile
//! -- --nocapture` runs for a quarter of an hour for each role, `POSTRIDER_HOSTILE_ROLE=worker` for
//! one of them. The seed is printed first, and `POSTRIDER_HOSTILE_SEED` sets it.

#![allow(clippy::unwrap_used)] // tests; clippy exempts only those inside `#[test]`

#[path = "../shared/counting.rs"]
mod counting;
mod generator;
mod good;
mod ground;
mod hostile;
mod memory;
mod nobody;
mod peers;
mod plan;
#[path = "../shared/process.rs"]
mod process;
mod scene;
mod session;
mod template;
mod value;
#[path = "../shared/wait.rs"]
mod wait;
mod watch;
mod worker;

use plan::Plan;

#[test]
fn good_messages_arrive_once_and_in_time_beside_hostile_ones() {
    let plan = Plan::from_env();
    println!("{plan}");
    let server = ground::server();
    for role in &plan.roles {
        println!("{}", scene::play(&server, *role, &plan));
    }
}
