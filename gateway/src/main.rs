//! The `moteseal` program; everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    moteseal_gateway::main()
}
