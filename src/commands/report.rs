use std::fs;
use std::io::Write;
use std::path::Path;

use brigade_report::html::{Source, render};

use crate::args::ReportArgs;
use crate::console::{self, Results};
use crate::exit::{Exit, Failure};
use crate::write;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let path = &args.result;
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot make a report of {}: {why}", path.display()))
    };
    let result = crate::saved::read(path, |why| wrong(&why))?;
    let page = render(&result, &source(path)).map_err(|error| wrong(&error))?;

    if args.output.as_deref() == Some(Path::new("-")) {
        let mut results = Results::stdout();
        results.write_all(page.as_bytes())?;
        results.flush()?;
        return Ok(Exit::Ok);
    }
    let output = args.output.clone().unwrap_or_else(|| path.with_extension("html"));
    if write::identity(&output) == write::identity(path) {
        return Err(Failure::usage(format!(
            "the page would replace {}, which it is made from: name another file with -o",
            path.display()
        )));
    }
    write::atomically(&output, page.as_bytes()).map_err(|error| {
        Failure::usage(format!("cannot write the page to {}: {error}", output.display()))
    })?;
    console::say(format_args!("the page is in {}", output.display()));
    Ok(Exit::Ok)
}

/// Name and modification time of the file, for the page's heading.
fn source(path: &Path) -> Source {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    // Minutes are precise enough: 2026-01-31 12:00 UTC.
    let minutes = |time| humantime::format_rfc3339_seconds(time).to_string();
    let written = written.ok().map(minutes).and_then(|text| {
        let (day, time) = text.split_once('T')?;
        Some(format!("{day} {} UTC", time.get(..5)?))
    });
    let name = path.file_name().unwrap_or(path.as_os_str());
    Source { file: name.to_string_lossy().into_owned(), written: written.unwrap_or_default() }
}
