//! TEMP
use clap::Args;
use super::{Context, Failure};
/// t
#[derive(Args)]
pub(super) struct Demo {}
impl Demo { pub(super) fn run(self, _: &Context) -> Result<(), Failure> { Ok(()) } }
