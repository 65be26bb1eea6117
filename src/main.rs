//! The `postrider` command. The only place that reads the environment, installs signal
//! handlers and exits.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
