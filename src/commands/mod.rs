//! One file per command.

mod ab;
mod batch;
pub(crate) mod batch_line;
mod batch_reader;
mod bench;
mod compare;
mod completions;
#[cfg(test)]
mod crash;
mod doctor;
mod gate;
mod history;
mod kernels;
mod man;
mod output_reservations;
mod pairing;
mod report;
mod resume;
mod run;
mod session;
mod verdict;

use brigade_kernels::Registry;
use clap::Parser;

use crate::args::{Cli, Command};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::log;

/// Parses the command line and runs the command.
pub(crate) fn dispatch(registry: Registry) -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            return refuse(&error);
        }
    };
    match execute(cli, registry) {
        Ok(exit) => exit,
        Err(failure) => {
            console::say(format_args!("error: {}", failure.message));
            failure.exit
        }
    }
}

/// Prints help or the version to standard output. Prints an error in one line: clap would add the
/// usage, which hides it.
fn refuse(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as Nothing;
    if !error.use_stderr() || error.kind() == Nothing {
        let _ = error.print();
        return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
    }
    let text = error.to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            break;
        }
        let between = match (line.is_empty(), part.strip_prefix("tip: ")) {
            (true, _) => "",
            (_, Some(_)) => "; ",
            (_, None) => " ",
        };
        line.push_str(between);
        line.push_str(part.strip_prefix("tip: ").unwrap_or(part));
    }
    console::say(format_args!("{line}; --help shows what there is"));
    Exit::Usage
}

fn execute(cli: Cli, registry: Registry) -> Result<Exit, Failure> {
    log::init(&cli.log.log)?;
    match cli.command {
        Command::Run(args) => run::run(&args, registry),
        Command::Batch(args) => batch::run(&args, registry),
        Command::Kernels(args) => kernels::run(&args, &registry),
        Command::Bench(args) => bench::run(&args, registry),
        Command::Report(args) => report::run(&args),
        Command::Ab(args) => ab::run(&args),
        Command::Gate(args) => gate::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::History(args) => history::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
