//! Runs one benchmark.

use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_measure::command::{InstructionCounter, RunError, RunMeasurement};
use brigade_measure::comparison::Verdict;
use brigade_measure::gate::{
    Arm, Judgement, Round, RoundHooks, RoundLimits, Rules, Stopped, round,
};
use brigade_measure::stats::signed_rank_blocks_needed;

use super::{Candidate, Paired, Pairing, cells, failure};
use crate::args::AbMetric;
use crate::console::{self, ProgressDisplay};
use crate::exit::Failure;
use crate::signals::Flag;

/// Error probability of the first round, over all its interim checks and metrics, in either
/// direction.
const ALPHA: f64 = 0.01;
/// Error probability of the second round, which judges only what the first calls worse. Both
/// together err in 5 of 10,000 comparisons, and the second round needs fewer blocks for that.
const CONFIRMING_ALPHA: f64 = 0.05;
/// Share of the budget for the first round. With the error probabilities above, the two rounds need
/// blocks in a ratio of about 6 to 4.
const FIRST_SHARE: f64 = 0.6;
/// Time limit of a cleanup.
const CLEANUP: Duration = Duration::from_secs(60);

impl Pairing {
    /// Runs both sides alternately until each metric is judged, or the budget is spent.
    ///
    /// # Errors
    /// When a program cannot be started.
    pub(in super::super) fn measure(&self, signal: &Flag) -> Result<Paired, Failure> {
        let mut set_up = Vec::new();
        let paired = self.set_up_and_measure(signal, &mut set_up);
        // Also after a failure or Ctrl-C: what `setup` has made must not be left behind.
        for candidate in set_up {
            let Some(cleanup) = &candidate.cleanup else { continue };
            let cleanup = cleanup.clone().within(Some(CLEANUP));
            if let Err(error) = cleanup.run(Stdio::inherit(), &|| false) {
                console::say(format_args!("warning: {} cleanup: {error}", candidate.label));
            }
        }
        paired
    }

    /// Sets up, warms up and measures. Adds each side to `set_up` before its setup runs.
    fn set_up_and_measure<'a>(
        &'a self,
        signal: &Flag,
        set_up: &mut Vec<&'a Candidate>,
    ) -> Result<Paired, Failure> {
        let metrics = self.settings.metrics.len();
        let begin = Instant::now();
        let status = match self.warm_up(signal, set_up)? {
            Ok(status) => status,
            Err(stopped) => {
                let round = Round::none(metrics, &self.rules(ALPHA), stopped);
                return Ok(self.paired(round, None));
            }
        };
        let all: Vec<usize> = (0..metrics).collect();
        let budget = self.settings.budget.mul_f64(FIRST_SHARE);
        let runs = Instant::now();
        let first = self.round(&all, ALPHA, budget, self.settings.seed, status, signal);
        let block = runs.elapsed().div_f64(first.blocks.len().max(1) as f64);
        let is_worse = |judged: &Judgement| judged.verdict == Verdict::Worse;
        let worse: Vec<usize> =
            all.into_iter().filter(|&metric| is_worse(&first.judgements[metric])).collect();
        let mut second = None;
        if !worse.is_empty() && first.stopped.is_none() {
            let name = &self.settings.name;
            console::say(format_args!(
                "{name}: round 1: head is worse. Running round 2 to confirm."
            ));
            let left = self.settings.budget.saturating_sub(begin.elapsed());
            let least = self.settings.budget.mul_f64(1.0 - FIRST_SHARE);
            let level = CONFIRMING_ALPHA / worse.len() as f64;
            let needed = block.mul_f64(1.1 * signed_rank_blocks_needed(1.0 - level) as f64);
            let budget = left.max(least).max(needed);
            let seed = self.second_seed();
            let round = self.round(&worse, CONFIRMING_ALPHA, budget, seed, status, signal);
            second = Some((worse, round));
        }
        Ok(self.paired(first, second))
    }

    /// The seed of the second round, which gives it another order.
    pub(super) fn second_seed(&self) -> u64 {
        self.settings.seed ^ 0xa5a5_a5a5
    }

    fn paired(&self, first: Round, second: Option<(Vec<usize>, Round)>) -> Paired {
        let cells = cells::of(self, &first, second.as_ref());
        let rounds = [Some(&first), second.as_ref().map(|(_, round)| round)];
        let stopped = rounds.into_iter().flatten().find_map(|round| round.stopped.clone());
        let blocks = cells::blocks(&self.settings.name, first, second.map(|(_, round)| round));
        Paired { cells, blocks, stopped }
    }

    fn rules(&self, alpha: f64) -> Rules {
        Rules { tolerance: self.settings.tolerance, alpha }
    }

    /// Loads both programs into memory, and shows what their first runs write to standard error.
    /// Returns the exit status that every run has to end with, or what stopped the comparison.
    fn warm_up<'a>(
        &'a self,
        signal: &Flag,
        set_up: &mut Vec<&'a Candidate>,
    ) -> Result<Result<i32, Stopped>, Failure> {
        let mut expected = None;
        for candidate in [&self.base, &self.head] {
            set_up.push(candidate);
            let is_set_up = candidate.help(candidate.setup.as_ref(), signal);
            for run in 0..self.settings.warmup.max(1) {
                let taken = match &is_set_up {
                    Err(error) => Err(error.clone()),
                    Ok(()) => self.run(candidate, signal, run == 0).map(|(taken, _)| taken),
                };
                match taken {
                    _ if signal.is_set() => return Ok(Err(Stopped::Interrupted)),
                    Ok(taken) => drop(expected.get_or_insert(taken.status)),
                    Err(RunError::Failed(error)) => {
                        let error = format!("{} {error}", candidate.label);
                        return Ok(Err(Stopped::Failed(error)));
                    }
                    Err(error) => return Err(failure(&candidate.label, &error)),
                }
            }
        }
        Ok(Ok(expected.unwrap_or(0)))
    }

    fn round(
        &self,
        metrics: &[usize],
        alpha: f64,
        budget: Duration,
        seed: u64,
        status: i32,
        signal: &Flag,
    ) -> Round {
        let is_interrupted = &|| signal.is_set();
        let limits = RoundLimits { budget, blocks: self.settings.blocks as usize, seed };
        let mut progress = ProgressDisplay::of("blocks", None);
        let mut run = |arm: Arm| {
            let candidate = if arm == Arm::Head { &self.head } else { &self.base };
            let ran = self.run(candidate, signal, false);
            let (taken, counted) = ran.map_err(|error| error.to_string())?;
            if taken.status != status {
                let text = candidate.program.text();
                return Err(format!(
                    "`{text}` exited with status {}, and the first run of base with {status}",
                    taken.status
                ));
            }
            let metrics = metrics.iter().map(|&metric| self.settings.metrics[metric]);
            metrics.map(|metric| figure(metric, &taken, counted)).collect()
        };
        let mut hooks =
            RoundHooks { run: &mut run, done: &mut |_, _| progress.job(true), is_interrupted };
        round(metrics.len(), &self.rules(alpha), &limits, &mut hooks)
    }

    /// Runs one side once. Returns what the run took, and its instructions if they are counted.
    fn run(
        &self,
        candidate: &Candidate,
        signal: &Flag,
        loud: bool,
    ) -> Result<(RunMeasurement, Option<u64>), RunError> {
        let is_interrupted = &|| signal.is_set();
        let stderr = || if loud { Stdio::inherit() } else { Stdio::null() };
        candidate.help(candidate.prepare.as_ref(), signal)?;
        let program = candidate.program.clone();
        let taken = match self.counter {
            // Counting costs nothing, so one run gives all figures.
            Some(counter @ InstructionCounter::Perf) => program.counting(counter),
            // A separate run counts.
            Some(InstructionCounter::Valgrind) | None => program,
        };
        let taken = taken.run(stderr(), is_interrupted)?;
        if self.counter != Some(InstructionCounter::Valgrind) {
            return Ok((taken, taken.instructions));
        }
        candidate.help(candidate.prepare.as_ref(), signal)?;
        let program = candidate.program.clone().counting(InstructionCounter::Valgrind);
        let counted = program.run(Stdio::null(), is_interrupted)?;
        if counted.status != taken.status {
            let text = candidate.program.text();
            return Err(RunError::Failed(format!(
                "`{text}` exited with status {}, and with {} while its instructions were counted",
                taken.status, counted.status
            )));
        }
        Ok((taken, counted.instructions))
    }
}

/// The value of a metric. It is above 0, so that there are ratios: the clock of CPU time is coarse.
fn figure(metric: AbMetric, taken: &RunMeasurement, counted: Option<u64>) -> Result<f64, String> {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ns = |ns: u64| (ns as f64 / 1e3).max(1.0);
    Ok(match metric {
        AbMetric::Wall => us(taken.wall),
        AbMetric::User => ns(taken.usage.user_ns),
        AbMetric::System => ns(taken.usage.system_ns),
        AbMetric::Cpu if taken.usage.user_ns + taken.usage.system_ns == 0 => {
            return Err("its processor time is 0, so it is not measured here".to_owned());
        }
        AbMetric::Cpu => ns(taken.usage.user_ns + taken.usage.system_ns),
        AbMetric::Instructions => match counted {
            Some(count) if count > 0 => count as f64,
            _ => return Err("its instructions were not counted".to_owned()),
        },
        AbMetric::PeakMemory => taken.usage.peak_rss_bytes.max(1) as f64,
    })
}
