use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use brigade_report::html::{ResultSource, render_all};

use crate::args::ReportArgs;
use crate::console::{self, Results};
use crate::exit::{Exit, Failure};
use crate::write;

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot make a report of {}: {why}", path.display()))
    };
    let read =
        |path: &PathBuf| Ok((crate::saved::read(path, |why| wrong(path, &why))?, source(path)));
    let results = args.results.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let page =
        render_all(&results).map_err(|(place, error)| wrong(&args.results[place], &error))?;

    if args.output.as_deref() == Some(Path::new("-")) {
        let mut results = Results::stdout();
        results.write_all(page.as_bytes())?;
        results.flush()?;
        return Ok(Exit::Ok);
    }
    let output = args.output.clone().unwrap_or_else(|| match &args.results[..] {
        [only] => only.with_extension("html"),
        _ => PathBuf::from("report.html"),
    });
    let same = |path: &&PathBuf| write::identity(&output) == write::identity(path);
    if let Some(path) = args.results.iter().find(same) {
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
fn source(path: &Path) -> ResultSource {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    // Minutes are precise enough: 2026-01-31 12:00 UTC.
    let minutes = |time| humantime::format_rfc3339_seconds(time).to_string();
    let written = written.ok().map(minutes).and_then(|text| {
        let (day, time) = text.split_once('T')?;
        Some(format!("{day} {} UTC", time.get(..5)?))
    });
    let name = path.file_name().unwrap_or(path.as_os_str());
    ResultSource { file: name.to_string_lossy().into_owned(), written: written.unwrap_or_default() }
}
