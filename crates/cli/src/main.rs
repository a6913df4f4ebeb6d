//! Starts the one binary `medeclipse`; see the library beside it.

/// docs/decisions/0009-jemalloc.md says why not the C library's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    medeclipse::main()
}
