use std::io::Write;

use brigade_measure::doctor;
use brigade_measure::host::Host;
use brigade_report::doctor as report;

use crate::args::{DoctorArgs, ListFormat};
use crate::console::Results;
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    // Read the load of the machine before the checks add to it.
    let host = Host::read();
    let findings = doctor::examine();
    let mut results = Results::stdout();
    match args.format {
        ListFormat::Human => report::human(&mut results, &host, &findings)?,
        ListFormat::Json => report::json(&mut results, &host, &findings)?,
    }
    results.flush()?;
    Ok(Exit::Ok)
}
