//! The `mash-gateway` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mash_gateway::cli::main()
}
