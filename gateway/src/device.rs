//! Not built yet.

use std::process::ExitCode;

/// Options.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args) -> Result<ExitCode, String> {
    Err("not built yet".into())
}
