//! `brigade history`: keeps results of commits and finds changes among them.

mod add;
mod git;
mod load;
mod store;

use std::io::Write;

use brigade_measure::history::{Check, Found, History};
use brigade_report::history_human;
use brigade_report::html::{ResultSource, render};

use crate::args::{
    HistoryArgs, HistoryCheckArgs, HistoryCommand, HistoryFailOn, HistoryShowArgs, ListFormat,
};
use crate::console::{self, Results};
use crate::exit::{Exit, Failure};
use crate::write;

pub(crate) fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    match &args.command {
        HistoryCommand::Add(args) => add::run(args),
        HistoryCommand::Show(args) => show(args),
        HistoryCommand::Check(args) => check(args),
    }
}

fn show(args: &HistoryShowArgs) -> Result<Exit, Failure> {
    let history = load::history(&args.which)?;
    if let Some(page) = &args.page {
        let source = ResultSource {
            file: args.which.kept.dir.to_string_lossy().into_owned(),
            written: String::new(),
        };
        let html = render(&serde_json::json!(history), &source).map_err(Failure::usage)?;
        write::atomically(page, html.as_bytes()).map_err(|error| {
            Failure::usage(format!("cannot write --page {}: {error}", page.display()))
        })?;
        console::say(format_args!("the page is in {}", page.display()));
    }
    say(args.format, &history, history_human::show)?;
    Ok(Exit::Ok)
}

fn check(args: &HistoryCheckArgs) -> Result<Exit, Failure> {
    let mut history = load::history(&args.which)?;
    let last = args.last as usize;
    let accepted = accepted(&history, &args.accept)?;
    let names: Vec<&str> = accepted.iter().map(String::as_str).collect();
    let mut slowdowns = Vec::new();
    let mut is_changed = false;
    for series in &history.series {
        for change in series.slowdowns(last, args.tolerance, &names) {
            slowdowns.push(Found {
                name: series.name.clone(),
                machine: series.machine.clone(),
                commit: change.commit.clone(),
                ratio: change.ratio,
            });
        }
        is_changed |= series.changed(last, args.tolerance, &names);
    }
    let verdict = match (slowdowns.is_empty(), is_changed) {
        (false, _) => "worse",
        (true, true) => "changed",
        (true, false) => "same",
    };
    let fails = match args.fail_on {
        HistoryFailOn::Slowdown => !slowdowns.is_empty(),
        HistoryFailOn::Change => !slowdowns.is_empty() || is_changed,
        HistoryFailOn::Nothing => false,
    };
    history.check = Some(Check {
        verdict: verdict.to_owned(),
        last,
        tolerance: args.tolerance,
        accepted,
        slowdowns,
    });
    say(args.format, &history, history_human::check)?;
    Ok(if fails { Exit::Worse } else { Exit::Ok })
}

/// The full ids of the commits that `--accept` names.
fn accepted(history: &History, given: &[String]) -> Result<Vec<String>, Failure> {
    let mut whole = Vec::new();
    for name in given {
        let all = history.series.iter().flat_map(|series| &series.points);
        let mut found: Vec<&String> =
            all.map(|point| &point.commit).filter(|commit| commit.starts_with(&name[..])).collect();
        found.sort_unstable();
        found.dedup();
        match &found[..] {
            [one] if !name.is_empty() => whole.push((*one).clone()),
            [] => {
                return Err(Failure::usage(format!(
                    "--accept {name}: the history has no commit whose name begins so"
                )));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "--accept {name}: the names of {} commits of the history begin so",
                    found.len()
                )));
            }
        }
    }
    Ok(whole)
}

type Human = fn(&mut dyn Write, &History) -> std::io::Result<()>;

fn say(format: ListFormat, history: &History, human: Human) -> Result<(), Failure> {
    let mut results = Results::stdout();
    match format {
        ListFormat::Human => human(&mut results, history)?,
        ListFormat::Json => {
            history_human::json(&mut results, history)?;
        }
    }
    results.flush()?;
    Ok(())
}
