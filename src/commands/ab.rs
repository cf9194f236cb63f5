//! `brigade ab`: runs two commands alternately and compares them.

use std::time::Instant;

use brigade_measure::comparison::{self, COMPARE_SCHEMA, Comparison};
use brigade_measure::gate::Stopped;
use brigade_measure::host::Host;
use serde_json::json;

use super::pairing::{Pairing, Settings, SideCommand};
use super::verdict;
use crate::args::AbArgs;
use crate::exit::{Exit, Failure};
use crate::exports;
use crate::signals::Flag;

pub(crate) fn run(args: &AbArgs) -> Result<Exit, Failure> {
    let side = |label: &str, command: &str| SideCommand {
        label: label.to_owned(),
        command: command.to_owned(),
        directory: None,
        without: Vec::new(),
    };
    let sides = [side("--base", &args.base), side("--head", &args.head)];
    let pairings = Pairing::all(&settings(args), &sides, &args.how.parameter)?;
    let has_times = args.metric.iter().any(|metric| metric.is_main_time());
    exports::check_times(&args.verdict.exports.export, has_times)?;
    let mut results = verdict::open(&args.verdict, &[])?;
    let host = json!(Host::read());
    let warnings = verdict::warnings();
    let signal = Flag::watch()?;
    let begin = Instant::now();
    let (mut cells, mut blocks, mut stopped) = (Vec::new(), Vec::new(), None);
    for pairing in &pairings {
        let paired = pairing.measure(&signal)?;
        cells.extend(paired.cells);
        blocks.extend(paired.blocks);
        stopped = stopped.or(paired.stopped);
        if signal.is_set() {
            break;
        }
    }
    let side = |name: Option<&String>, command: &str| comparison::Side {
        name: name.map_or(command, String::as_str).to_owned(),
        name_bytes: None,
        command: name.map(|_| command.to_owned()),
        commit: None,
        host: host.clone(),
    };
    let comparison = Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        kind: "ab".to_owned(),
        base: side(args.names.base_name.as_ref(), &args.base),
        head: side(args.names.head_name.as_ref(), &args.head),
        tolerance: args.verdict.tolerance(),
        seed: args.seed,
        took_s: begin.elapsed().as_secs_f64(),
        warnings,
        interrupted: stopped == Some(Stopped::Interrupted),
        verdict: verdict::worst(&cells),
        cells,
        blocks,
    };
    let exit = match (signal.exit(), stopped) {
        (Some(exit), _) => Ok(exit),
        (None, Some(Stopped::Failed(message))) => Err(Failure { exit: Exit::JobFailed, message }),
        (None, _) => Ok(verdict::exit(comparison.verdict, args.verdict.fail_on)),
    };
    verdict::write(&comparison, &args.verdict, exit.as_ref().ok(), &mut results)?;
    exit
}

fn settings(args: &AbArgs) -> Settings {
    Settings {
        name: args.names.name.clone().unwrap_or_else(|| "ab".to_owned()),
        shell: args.how.shell,
        shell_by: "--shell",
        setup: args.how.setup.clone(),
        prepare: args.how.prepare.clone(),
        cleanup: args.how.cleanup.clone(),
        warmup: args.how.warmup,
        ignore_failure: args.how.ignore_failure,
        metrics: args.metric.clone(),
        tolerance: args.verdict.tolerance(),
        budget: args.budget,
        timeout: args.timeout,
        blocks: args.blocks,
        seed: args.seed,
    }
}
