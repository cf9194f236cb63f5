//! `brigade ab`: two commands in turns.

mod cells;

use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_measure::command::{Program, Taken};
use brigade_measure::comparison::{COMPARE_SCHEMA, Comparison, Side, Verdict};
use brigade_measure::gate::{Arm, Hooks, Judgement, Limits, Round, Rules, Stopped, round};
use brigade_measure::host::Host;
use serde_json::json;

use super::verdict;
use crate::args::{AbArgs, AbMetric};
use crate::console::{self, Progress};
use crate::exit::{Exit, Failure};
use crate::exports;
use crate::signals::Flag;

/// How often a comparison may err, over all looks and metrics, on either side.
const ALPHA: f64 = 0.01;

pub(crate) fn run(args: &AbArgs) -> Result<Exit, Failure> {
    let base = Program::parse(&args.base).map_err(|error| wrong("--base", &error))?;
    let head = Program::parse(&args.head).map_err(|error| wrong("--head", &error))?;
    let [base, head] = [base, head].map(|program| program.within(args.timeout));
    let (base, head) = match args.metric.contains(&AbMetric::Instructions) {
        true => (base.counting(), head.counting()),
        false => (base, head),
    };
    let has_times = args.metric.iter().any(|of| matches!(of, AbMetric::Wall | AbMetric::Cpu));
    exports::check_times(&args.verdict.exports.export, has_times)?;
    let mut results = verdict::open(&args.verdict, &[])?;
    let host = json!(Host::read());
    let warnings = verdict::warnings();
    let signal = Flag::watch()?;
    let begin = Instant::now();
    let bout = Bout { args, base: &base, head: &head, signal: &signal };
    let first = match bout.try_both()? {
        Some(stopped) => Round::none(args.metric.len(), &bout.rules(), stopped),
        None => bout.round(args.seed),
    };
    let is_worse = |judged: &Judgement| judged.verdict == Verdict::Worse;
    let second = if first.judgements.iter().any(is_worse) && first.stopped.is_none() {
        console::say("head looks worse; once more, to be sure");
        Some(bout.round(second_seed(args)))
    } else {
        None
    };
    let cells = cells::of(args, &first, second.as_ref());
    let stopped = [Some(&first), second.as_ref()].into_iter().flatten();
    let stopped = stopped.filter_map(|round| round.stopped.clone()).next();
    let side = |program: &Program| Side {
        name: program.text().to_owned(),
        name_bytes: None,
        host: host.clone(),
    };
    let comparison = Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        kind: "ab".to_owned(),
        base: side(&base),
        head: side(&head),
        tolerance: args.verdict.tolerance,
        seed: args.seed,
        took_s: begin.elapsed().as_secs_f64(),
        warnings,
        interrupted: stopped == Some(Stopped::Interrupted),
        verdict: verdict::worst(&cells),
        cells,
        blocks: cells::blocks(first, second),
    };
    verdict::write(&comparison, &args.verdict, &mut results)?;
    match (signal.exit(), stopped) {
        (Some(exit), _) => Ok(exit),
        // It worked the first time.
        (None, Some(Stopped::Failed(message))) => Err(Failure { exit: Exit::JobFailed, message }),
        (None, _) => Ok(verdict::exit(comparison.verdict, args.verdict.fail_on)),
    }
}

fn wrong(flag: &str, error: &str) -> Failure {
    Failure::usage(format!("{flag} {error}"))
}

/// Of the second round: another order.
fn second_seed(args: &AbArgs) -> u64 {
    args.seed ^ 0xa5a5_a5a5
}

/// Two commands, and what is asked of them.
struct Bout<'a> {
    args: &'a AbArgs,
    base: &'a Program,
    head: &'a Program,
    signal: &'a Flag,
}

impl Bout<'_> {
    fn rules(&self) -> Rules {
        Rules { tolerance: self.args.verdict.tolerance, alpha: ALPHA }
    }

    /// Loads both into memory, and shows what they complain of. What does not work is
    /// refused; says so if somebody wants it to end.
    fn try_both(&self) -> Result<Option<Stopped>, Failure> {
        for (program, flag) in [(self.base, "--base"), (self.head, "--head")] {
            let tried = program.run(Stdio::inherit(), &|| self.signal.is_set());
            if self.signal.is_set() {
                return Ok(Some(Stopped::Interrupted));
            }
            tried.map_err(|error| wrong(flag, &error))?;
        }
        Ok(None)
    }

    fn round(&self, seed: u64) -> Round {
        let is_interrupted = &|| self.signal.is_set();
        let metrics = &self.args.metric;
        let limits = Limits { budget: self.args.budget, blocks: self.args.blocks as usize, seed };
        let mut progress = Progress::of("blocks", None);
        let mut run = |arm: Arm| {
            let program = if arm == Arm::Head { self.head } else { self.base };
            let taken = program.run(Stdio::null(), is_interrupted)?;
            Ok(metrics.iter().map(|metric| figure(*metric, &taken)).collect())
        };
        let mut hooks =
            Hooks { run: &mut run, done: &mut |_, _| progress.job(true), is_interrupted };
        round(metrics.len(), &self.rules(), &limits, &mut hooks)
    }
}

/// Above 0, so that there are ratios: the clock of processor time has a grain.
fn figure(metric: AbMetric, taken: &Taken) -> f64 {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ns = |ns: u64| (ns as f64 / 1e3).max(1.0);
    match metric {
        AbMetric::Wall => us(taken.wall),
        AbMetric::User => ns(taken.usage.user_ns),
        AbMetric::System => ns(taken.usage.system_ns),
        AbMetric::Cpu => ns(taken.usage.user_ns + taken.usage.system_ns),
        AbMetric::Instructions => taken.instructions.unwrap_or(0).max(1) as f64,
        AbMetric::PeakMemory => taken.usage.peak_rss_bytes.max(1) as f64,
    }
}
