//! The `mainstay` binary; everything is in `mainstay::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mainstay::cli::main()
}
