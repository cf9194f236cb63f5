use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, ManArgs};
use crate::console::Results;
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let command = Cli::command();
    if let Some(directory) = &args.dir {
        clap_mangen::generate_to(command, directory).map_err(|error| {
            Failure::usage(format!("cannot write to --dir {}: {error}", directory.display()))
        })?;
        return Ok(Exit::Ok);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    let mut results = Results::stdout();
    results.write_all(&page)?;
    results.flush()?;
    Ok(Exit::Ok)
}
