//! Runs every experiment within one budget, and compares a process with a thread at the end.

use std::iter;
use std::time::Duration;

use brigade_exec::PoolConfig;
use brigade_measure::experiment::Cell;
use brigade_measure::models::{self, AtWorkers};
use serde_json::json;

use super::figures::{interval, is, of_blocks, of_groups, time, whole_blocks};
use super::session::BenchSession;
use super::{
    break_even, hockney, isolation, latency, paradigms, scaling, startup, throughput, work,
};
use crate::args::{
    AllArgs, BreakEvenArgs, ParadigmsArgs, ScalingArgs, ScalingMode, StartupArgs, ThroughputArgs,
};
use crate::exit::Failure;

/// Default budget of all experiments together.
pub(super) const BUDGET: Duration = Duration::from_secs(120);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

type ExperimentFn<'a> = dyn Fn(&mut BenchSession<'_>) -> Result<(), Failure> + 'a;

/// Runs the experiments one after the other, each with its share of the time. An experiment that
/// fails does not prevent the others; its error becomes a finding.
pub(super) fn all(args: &AllArgs, session: &mut BenchSession<'_>) {
    // Settings that the user does not give are smaller here than in the single experiments.
    let common = |workers: &[usize]| {
        let mut common = args.common.clone();
        let own = &mut common.pool;
        if own.workers.is_empty() {
            own.workers = workers.to_vec();
        }
        common
    };
    let alone = &common(&[1]).pool;
    let mut one_depth = common(&[1, 2]);
    if one_depth.pool.processes.depth.is_empty() {
        one_depth.pool.processes.depth = vec![PoolConfig::default().depth];
    }
    let throughput = ThroughputArgs {
        kernel: "noop".to_owned(),
        params: Vec::new(),
        size: None,
        time: Duration::from_millis(50),
        common: one_depth,
    };
    let startup = StartupArgs { common: common(&[1, 2]) };
    let doublings: Vec<usize> = iter::successors(Some(1), |count| Some(2 * count))
        .take_while(|&count| count <= 2 * work::usable())
        .collect();
    let scaling = ScalingArgs {
        kernel: "blur".to_owned(),
        params: Vec::new(),
        size: None,
        jobs: 6,
        mode: vec![ScalingMode::Strong, ScalingMode::Weak],
        common: common(&doublings),
    };
    let break_even = BreakEvenArgs {
        bytes: vec![0, 64 * KIB, MIB],
        compute: [0, 10, 100, 1000, 10_000].map(Duration::from_micros).to_vec(),
        percent: 0.05,
        common: common(&[2]),
    };
    let paradigms = ParadigmsArgs {
        kernels: vec!["blur".to_owned(), "matmul".to_owned()],
        orders: 8,
        wait: Duration::from_millis(5),
        common: common(&[1, 2, 4]),
    };
    // Shares of the budget. The rest is for starting and closing pools and for the analysis.
    let experiments: [(&str, f64, &ExperimentFn<'_>); 8] = [
        ("latency", 0.12, &|session| {
            latency::latency(&[0, 4 * KIB, 64 * KIB, MIB], alone, session)
        }),
        ("bandwidth", 0.06, &|session| latency::bandwidth(&[8 * MIB], alone, session)),
        ("throughput", 0.1, &|session| throughput::throughput(&throughput, session)),
        ("startup", 0.05, &|session| startup::startup(&startup.common.pool, session)),
        ("isolation", 0.05, &|session| isolation::isolation(&[MIB], alone, session)),
        ("scaling", 0.14, &|session| scaling::scaling(&scaling, session)),
        ("break-even", 0.17, &|session| break_even::break_even(&break_even, session)),
        ("paradigms", 0.23, &|session| paradigms::paradigms(&paradigms, session)),
    ];
    let mut left = 1.0;
    for (name, part, run) in experiments {
        if session.is_interrupted() {
            break;
        }
        if let Err(failure) = session.with_share(part / left, run) {
            session.find(format!("{name} was not measured: {}", failure.message));
            session.failed = true;
        }
        left -= part;
    }
    hockney::conclude(session);
    // The comparison of process and thread comes first in the findings.
    let others = session.findings.len();
    verdict(session);
    session.findings.rotate_left(others);
}

/// Answers how much more a process costs than a thread on this machine.
fn verdict(session: &mut BenchSession<'_>) {
    for (what, wanted) in [
        ("an empty job, one after the other", json!({"bytes": 0, "state": "busy"})),
        ("an empty job after a rest", json!({"bytes": 0, "state": "idle"})),
        ("a job that reads and writes 1 MiB", json!({"bytes": MIB, "placement": "copied"})),
    ] {
        let cells = session.cells.iter().filter(|cell| cell.experiment == "latency");
        let cells: Vec<&Cell> = cells.filter(|cell| cell.error.is_none() && cell.n > 0).collect();
        let find = |wanted: &serde_json::Value| cells.iter().copied().find(|cell| is(cell, wanted));
        let (mut process, mut thread) = (wanted.clone(), wanted);
        process["backend"] = "processes".into();
        process["transport"] = "arena".into();
        thread["backend"] = "threads".into();
        // Inputs are not copied for a thread, so its cells have no placement.
        thread.as_object_mut().map(|thread| thread.remove("placement"));
        let (Some(process), Some(thread)) = (find(&process), find(&thread)) else {
            continue;
        };
        let said = held_against(process, thread, session.common.plan.seed);
        session.find(format!("{what} takes in a worker process {said}"));
    }
    if session.is_interrupted() {
        session.find("it was interrupted: what is said here rests on what there was".to_owned());
    }
}

/// Compares the two times in words: "1.77 us, in a thread 4.41 us: 0.40 (0.38 .. 0.43) of it".
fn held_against(process: &Cell, thread: &Cell, seed: u64) -> String {
    let blocks = whole_blocks([process, thread]);
    // The thread's time is passed as the rival's, so the result is the wanted ratio of process to
    // thread.
    let times = AtWorkers { workers: 1, blocks: of_groups(thread, blocks) };
    let ratio = models::speedup(&of_blocks(process, blocks), &[times], seed);
    let figures = format!("{}, in a thread {}", time(process.p50), time(thread.p50));
    match ratio.ok().and_then(|ratio| ratio.points.first().map(|point| point.speedup)) {
        Some(ratio) => format!("{figures}: {} of it", interval(&ratio)),
        None => format!("{figures} (too few blocks for an interval)"),
    }
}
