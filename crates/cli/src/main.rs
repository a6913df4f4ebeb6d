//! Starts the one binary `medeclipse`; see the library beside it.

fn main() -> std::process::ExitCode {
    medeclipse::main()
}
