//! The `hotshoe` command: from its arguments to its exit code.
#![forbid(unsafe_code)]

mod front;

fn main() {
    // Before everything else: this process may be the worker of one plugin.
    let workers = hotshoe::worker::take_over();
    let code = front::cli::main(&workers);
    // Not a return: destructors and `atexit` functions of plugins would run, and may hang or crash.
    hotshoe_loader::leave(code as u8)
}
