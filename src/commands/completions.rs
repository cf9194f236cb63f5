use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::console::Results;
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "brigade", &mut script);
    let mut results = Results::stdout();
    results.write_all(&script)?;
    results.flush()?;
    Ok(Exit::Ok)
}
