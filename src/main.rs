//! The `autocodegen` program.

use std::process::ExitCode;

use autocodegen::sandbox::local::{LAUNCHER_ARGUMENT, launcher_main};

fn main() -> ExitCode {
    // Before anything starts a thread: the launcher forks.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCHER_ARGUMENT) {
        return launcher_main();
    }
    autocodegen::cli::main()
}
