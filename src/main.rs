//! The binary: hands over to the launcher of the sandbox or to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "__launcher") {
        return autocodegen::sandbox::local::launcher_main();
    }
    autocodegen::cli::main()
}
