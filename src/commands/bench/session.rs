//! State of one invocation of `bench`: the user's settings, the remaining budget, and the results
//! so far.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_exec::{Pool, PoolBuilder};
use brigade_kernels::Registry;
use brigade_measure::context::BlockContext;
use brigade_measure::experiment::{self, Cell, ExperimentHooks, Metric, Plan, Variant};
use brigade_measure::models::{LEAST_BLOCKS, Model, ModelResult, Refused};
use brigade_proto::{JobSpec, Outcome, Status};
use serde_json::{Map, Value};

use super::pools::Pools;
use super::spans;
use crate::args::{CommonArgs, MeasuredArgs};
use crate::console::{self, ProgressDisplay};
use crate::exit::Failure;
use crate::signals::Flag;

/// Number of blocks if neither `--blocks` nor `--budget` is given.
const BLOCKS: usize = 15;
/// Maximum number of blocks if only a budget is given.
const MOST_BLOCKS: usize = 10_000;

pub(super) struct BenchSession<'a> {
    pub(super) common: &'a CommonArgs,
    pub(super) registry: Arc<Registry>,
    /// Whether the user has interrupted it.
    pub(super) signal: Flag,
    begin: Instant,
    /// Time budget of the whole invocation.
    budget: Option<Duration>,
    /// When the current experiment should end.
    end: Option<Instant>,
    /// The user's settings of the measured pools.
    pub(super) config: Map<String, Value>,
    /// Number of measurements that the current experiment still has to make.
    ahead: usize,
    /// Whether an experiment failed while others succeeded.
    pub(super) failed: bool,
    /// Variants that `--budget` left without a turn, by experiment.
    unmeasured: Vec<Unmeasured>,
    pub(super) cells: Vec<Cell>,
    pub(super) blocks: Vec<BlockContext>,
    pub(super) models: Vec<Value>,
    pub(super) findings: Vec<String>,
    /// Why models are missing: printed after the findings.
    pub(super) refusals: Vec<String>,
    pub(super) timelines: Vec<Value>,
}

impl<'a> BenchSession<'a> {
    /// `budget` is the budget in `common`, or the default if there is none.
    pub(super) fn new(
        common: &'a CommonArgs,
        budget: Option<Duration>,
        registry: Arc<Registry>,
        signal: Flag,
    ) -> Self {
        Self {
            common,
            registry,
            signal,
            begin: Instant::now(),
            budget,
            end: budget.map(|budget| Instant::now() + budget),
            config: Map::new(),
            ahead: 1,
            failed: false,
            unmeasured: Vec::new(),
            cells: Vec::new(),
            blocks: Vec::new(),
            models: Vec::new(),
            findings: Vec::new(),
            refusals: Vec::new(),
            timelines: Vec::new(),
        }
    }

    /// The pools that an experiment measures.
    pub(super) fn pools(&self, asked: &MeasuredArgs) -> Result<Pools, Failure> {
        Pools::new(asked, &self.registry)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.signal.is_set()
    }

    /// Announces an experiment with this many measurements. They share the remaining budget.
    pub(super) fn expect(&mut self, measurements: usize) {
        self.ahead = measurements.max(1);
    }

    /// Runs a closure with a share of the remaining budget.
    pub(super) fn with_share<T>(&mut self, share: f64, run: impl FnOnce(&mut Self) -> T) -> T {
        let all = self.end;
        let now = Instant::now();
        self.end = all.map(|end| now + end.saturating_duration_since(now).mul_f64(share));
        self.ahead = 1;
        let done = run(self);
        self.end = all;
        done
    }

    /// Stores a fitted model, or the reason why there is none.
    pub(super) fn conclude<T: Clone>(
        &mut self,
        model: Result<T, Refused>,
        kind: impl FnOnce(T) -> Model,
        case: Value,
    ) -> Option<T> {
        let (kept, found) = match model {
            Ok(model) => (kind(model.clone()), Some(model)),
            Err(refused) => {
                let refused = self.advised(refused);
                let why = refused.to_string();
                if !self.refusals.contains(&why) {
                    self.refusals.push(why);
                }
                (Model::Refused(refused), None)
            }
        };
        let entry = ModelResult { model: kept, case: super::case(case) };
        // This cannot fail: the entry contains only numbers, texts and lists, which JSON can
        // represent.
        self.models.push(serde_json::to_value(entry).unwrap_or_default());
        found
    }

    /// Adds to the reason what gives the experiment as many blocks as an interval needs.
    pub(super) fn advised(&self, mut refused: Refused) -> Refused {
        let asked = self.common.plan.blocks.unwrap_or(u32::MAX) as usize;
        if !refused.needs_blocks || self.is_interrupted() {
            return refused;
        }
        if asked < LEAST_BLOCKS || self.budget.is_none() {
            refused.reason.push_str(&format!(": --blocks {LEAST_BLOCKS}"));
        } else {
            refused.reason.push_str(": a longer --budget");
        }
        refused
    }

    /// Whether the budget is spent.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Adds findings if the budget was too short to measure everything, or was exceeded.
    pub(super) fn account_for_budget(&mut self) {
        let Some(budget) = self.budget else { return };
        let took = self.begin.elapsed();
        if took > budget.mul_f64(1.1) {
            let [took, budget] = [took, budget].map(in_words);
            self.find(format!(
                "it took {took} and not {budget}: --budget does not cut short the start of the pools, \
                 a first run of each measurement, and the run under way at its end"
            ));
        }
        let missing = self.unmeasured.iter().filter(|of| of.missing > 0);
        let counts: Vec<String> = missing.map(ToString::to_string).collect();
        if !counts.is_empty() && !self.is_interrupted() {
            self.find_first(format!(
                "{} had no turn within --budget {}: raise it, or measure fewer --backends, --workers \
                 or sizes",
                counts.join(", "),
                in_words(budget)
            ));
        }
    }

    fn count_unmeasured(&mut self, experiment: &str, variants: &[&Cell]) {
        let missing = variants.iter().filter(|cell| cell.n == 0 && cell.error.is_none()).count();
        let all = variants.len();
        match self.unmeasured.iter_mut().find(|of| of.experiment == experiment) {
            Some(of) => (of.missing, of.all) = (of.missing + missing, of.all + all),
            None => {
                let experiment = experiment.to_owned();
                self.unmeasured.push(Unmeasured { experiment, missing, all });
            }
        }
    }

    /// Adds a finding, unless it is already there.
    pub(super) fn find(&mut self, sentence: String) {
        self.find_at(self.findings.len(), sentence);
    }

    /// Adds a finding at the front, for unexpected results.
    pub(super) fn find_first(&mut self, sentence: String) {
        self.find_at(0, sentence);
    }

    fn find_at(&mut self, place: usize, sentence: String) {
        if !self.findings.contains(&sentence) {
            self.findings.insert(place, sentence);
        }
    }

    /// Runs the variants in blocks and stores their results. Returns the new cells.
    pub(super) fn measure(
        &mut self,
        experiment: &str,
        metrics: &[Metric],
        mut variants: Vec<Variant<'_>>,
    ) -> &[Cell] {
        let from = self.cells.len();
        if self.is_interrupted() || variants.is_empty() {
            return &self.cells[from..];
        }
        let ahead = self.ahead as u32;
        let budget = |end: Instant| end.saturating_duration_since(Instant::now()) / ahead;
        let plan = Plan {
            blocks: self.common.plan.blocks.map_or_else(
                || if self.end.is_some() { MOST_BLOCKS } else { BLOCKS },
                |blocks| blocks as usize,
            ),
            budget: self.end.map(budget),
            precision: self.common.plan.precision,
            seed: self.common.plan.seed,
        };
        let total = plan.budget.is_none().then_some((plan.blocks * variants.len()) as u64);
        let mut progress = ProgressDisplay::of("runs", total);
        let mut forecast = Forecast::new(experiment, variants.len(), plan.budget);
        let measured = experiment::run(
            experiment,
            metrics,
            &mut variants,
            &plan,
            &mut ExperimentHooks {
                done: &mut |runs| {
                    progress.job(true);
                    if let Some(late) = forecast.after(runs, forecast.begin.elapsed()) {
                        console::say(format_args!("note: {late}"));
                    }
                },
                is_interrupted: &|| self.signal.is_set(),
            },
        );
        self.ahead = self.ahead.saturating_sub(1).max(1);
        // The cells of a variant stand together, one for each metric.
        let variants: Vec<&Cell> = measured.cells.iter().step_by(metrics.len()).collect();
        self.count_unmeasured(experiment, &variants);
        self.blocks.extend(measured.blocks);
        self.cells.extend(measured.cells.into_iter().filter_map(spans::kept));
        &self.cells[from..]
    }
}

/// How many of an experiment's variants had no turn.
struct Unmeasured {
    experiment: String,
    missing: usize,
    all: usize,
}

impl fmt::Display for Unmeasured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} variants of {}", self.missing, self.all, self.experiment)
    }
}

/// Number of turns that suffice to forecast the duration of the others. One is not enough, because
/// variants differ.
const ENOUGH: usize = 4;

/// Forecasts how long the first turn of all variants will take.
struct Forecast<'a> {
    experiment: &'a str,
    variants: usize,
    budget: Option<Duration>,
    begin: Instant,
}

impl<'a> Forecast<'a> {
    fn new(experiment: &'a str, variants: usize, budget: Option<Duration>) -> Self {
        Self { experiment, variants, budget, begin: Instant::now() }
    }

    /// Returns a warning, at most once, if the remaining time does not suffice for one turn of each
    /// variant. `turns` turns, in random order, have taken `took`.
    fn after(&mut self, turns: usize, took: Duration) -> Option<String> {
        let budget = self.budget.filter(|_| turns >= ENOUGH.min(self.variants))?;
        // After the first turn of every variant, the warning is no longer useful.
        if turns >= self.variants {
            self.budget = None;
            return None;
        }
        let all = took.mul_f64(self.variants as f64 / turns as f64);
        if all <= budget.mul_f64(1.2) || all < budget + Duration::from_secs(1) {
            return None;
        }
        self.budget = None;
        let [all, budget] = [all, budget].map(in_words);
        Some(format!(
            "one turn of each of the {} variants of {} takes about {all}, and --budget leaves {budget}: \
             the others will not be measured; fewer --backends, --workers or sizes take less",
            self.variants, self.experiment
        ))
    }
}

fn in_words(time: Duration) -> String {
    brigade_report::units::time(time.as_nanos() as u64)
}

/// A pool, or the reason why it did not start. A variant reports the reason at its first turn, so a
/// pool that cannot start does not prevent the other variants from running.
pub(super) type StartedPool = Result<Pool, String>;

pub(super) fn start(builder: PoolBuilder) -> StartedPool {
    builder.build().map_err(|error| Failure::from(error).message)
}

pub(super) fn started(pool: &StartedPool) -> Result<&Pool, String> {
    pool.as_ref().map_err(Clone::clone)
}

/// Submits a job and waits for it. Returns the time in microseconds and the outcome.
pub(super) fn trip(pool: &Pool, job: JobSpec) -> Result<(f64, Outcome), String> {
    let begin = Instant::now();
    let outcome = pool.submit(job).map_err(|error| error.to_string())?.wait();
    let us = micros(begin.elapsed());
    // The time of a failed job is meaningless.
    match outcome.status() {
        Status::Ok => Ok((us, outcome)),
        _ => Err(outcome.result.err().map_or_else(String::new, |error| error.to_string())),
    }
}

/// Submits a job, waits for it, and returns the time in microseconds.
pub(super) fn round_trip(pool: &Pool, job: JobSpec) -> Result<f64, String> {
    Ok(trip(pool, job)?.0)
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn that_the_budget_is_too_short_is_said_early_and_once() {
        let mut forecast = Forecast::new("scaling", 20, Some(10 * SECOND));
        assert_eq!(forecast.after(3, 9 * SECOND), None, "too few to tell");
        assert_eq!(forecast.after(4, 2 * SECOND), None, "it will do");
        let said = forecast.after(5, 8 * SECOND).unwrap();
        assert!(said.contains("20 variants of scaling takes about 32.0 s"), "{said}");
        assert!(said.contains("--budget leaves 10.0 s"), "{said}");
        assert_eq!(forecast.after(6, 60 * SECOND), None, "once");
        let mut alone = Forecast::new("scaling", 1, Some(SECOND));
        assert_eq!(alone.after(1, 5 * SECOND), None, "all have had their turn");
    }

    #[test]
    fn later_turns_and_what_has_no_budget_are_not_told() {
        let mut forecast = Forecast::new("scaling", 4, Some(10 * SECOND));
        assert_eq!(forecast.after(5, 60 * SECOND), None);
        assert_eq!(Forecast::new("x", 4, None).after(4, 60 * SECOND), None);
    }
}
