use std::io::Write;

use brigade_kernels::Registry;
use brigade_report::kernels;

use crate::args::{KernelsArgs, ListFormat};
use crate::console::Results;
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &KernelsArgs, registry: &Registry) -> Result<Exit, Failure> {
    let one = match &args.name {
        Some(name) => Some(registry.find(name).map_err(Failure::usage)?),
        None => None,
    };
    let mut results = Results::stdout();
    match (args.format, one) {
        (ListFormat::Human, None) => kernels::table(&mut results, registry.iter())?,
        (ListFormat::Human, Some(entry)) => kernels::detail(&mut results, &entry.spec)?,
        (ListFormat::Json, None) => {
            writeln!(results, "{}", kernels::json(registry.iter()))?;
        }
        (ListFormat::Json, Some(entry)) => {
            writeln!(results, "{}", kernels::json(std::iter::once(entry)))?;
        }
    }
    results.flush()?;
    Ok(Exit::Ok)
}
