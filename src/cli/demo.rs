//! x
use super::output::{Failed, Output};
/// x
#[derive(Debug, clap::Args)]
pub(super) struct Demo {}
impl Demo { pub(super) fn run(self, _o: Output) -> Result<(), Failed> { Ok(()) } }
