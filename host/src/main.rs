//! The `hotshoe` command: from its arguments to its exit code.
#![forbid(unsafe_code)]

mod front;

fn main() {
    let code = front::cli::main();
    // Not a return: destructors and `atexit` functions of plugins would run, and may hang or crash.
    hotshoe_loader::leave(code as u8)
}
