//! The queue as the store's seam shows it, without a worker.

mod acquire;
mod admin;
mod doorbell;
mod faults;
mod fence;
mod history;
mod inbox;
mod upkeep;
