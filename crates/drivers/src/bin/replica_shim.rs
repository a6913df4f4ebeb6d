//! Starts one replica or task for the tests of this crate; `medeclipse` has the same in a hidden command.

fn main() -> std::process::ExitCode {
    drivers::platform::process::shim::run(std::env::args_os().skip(1))
}
