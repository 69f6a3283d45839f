//! The commands, one file each.

mod cancel;
mod detached;
mod doctor;
mod down;
mod pools;
mod run;
mod stream;
mod up;

use crate::args::{Args, Command};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// Carries out what was typed.
// spec: CLI-8001
pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let context = Context {
        config: args.config,
        url: args.url,
    };
    match args.command {
        Command::Up(args) => up::up(&context, &args, output).await,
        Command::Down => down::down(&context, output).await,
        Command::Run(args) => run::run(&context, *args, output).await,
        Command::Stream(args) => stream::stream(&context, args, output).await,
        Command::Cancel { task_id } => cancel::cancel(&context, task_id, output).await,
        Command::Pools => pools::pools(&context, output).await,
        Command::Doctor => doctor::doctor(&context, output).await,
        Command::Detached { command } => Err(detached::become_program(&command)),
    }
}
