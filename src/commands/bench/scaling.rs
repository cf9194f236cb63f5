//! Measures the speedup with more workers.

use brigade_exec::{Backend, PoolBuilder};
use brigade_measure::experiment::{Cell, Metric, Readings, Variant};
use brigade_measure::models::{
    self, AtWorkers, Model, ScaledSpeedup, ScaledSpeedupPoint, Speedup, Usl,
};
use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::figures::{interval, is, of_blocks, percent, whole_blocks};
use super::session::BenchSession;
use super::{case, with, work};
use crate::args::{ScalingArgs, ScalingMode};
use crate::exit::Failure;

const METRICS: [Metric; 6] = [
    Metric::us("wall"),
    Metric::us("cpu"),
    Metric { name: "startup_share", unit: "ratio" },
    Metric { name: "communication_share", unit: "ratio" },
    Metric { name: "imbalance", unit: "ratio" },
    Metric { name: "peak_memory", unit: "bytes" },
];

fn name(mode: ScalingMode) -> &'static str {
    match mode {
        ScalingMode::Strong => "strong",
        ScalingMode::Weak => "weak",
    }
}

fn jobs_of(mode: ScalingMode, jobs: usize, workers: usize) -> usize {
    match mode {
        ScalingMode::Strong => jobs,
        ScalingMode::Weak => jobs * workers,
    }
}

/// Runs the same jobs (strong scaling), and as many jobs per worker (weak scaling), by backend and
/// number of workers.
pub(super) fn scaling(args: &ScalingArgs, session: &mut BenchSession<'_>) -> Result<(), Failure> {
    let pools = session.pools(&args.common.pool)?;
    let registry = &session.registry;
    let job = work::job(registry, &args.kernel, &args.params, args.size, args.common.plan.seed)?;
    work::try_out(&pools.builder(Backend::Sync, 1).build()?, &job)?;
    let usable = work::usable();
    let counts = pools.workers(&(1..=2 * usable).collect::<Vec<_>>());
    let backends = pools.backends(&[Backend::Threads, Backend::Processes]);
    // The reference of the speedup.
    let mut configurations = vec![(Backend::Sync, 1)];
    for &backend in backends.iter().filter(|backend| **backend != Backend::Sync) {
        let counts = if work::has_workers(backend) { &counts[..] } else { &[1] };
        configurations.extend(counts.iter().map(|&count| (backend, count)));
    }
    let modes = [ScalingMode::Strong, ScalingMode::Weak];
    let modes = modes.into_iter().filter(|mode| args.mode.contains(mode));
    let mut variants = Vec::new();
    for mode in modes.clone() {
        for &(backend, workers) in &configurations {
            let mut name = with(pools.case(backend), json!({"workers": workers}));
            name.extend(about(args, mode));
            if workers > usable {
                name.insert("oversubscribed".to_owned(), true.into());
            }
            let jobs = jobs_of(mode, args.jobs as usize, workers);
            let (job, pools) = (&job, &pools);
            let run = move || turn(pools.builder(backend, workers), jobs, job);
            variants.push(Variant { case: name, run: Box::new(run) });
        }
    }
    let cells = session.measure("scaling", &METRICS, variants).to_vec();
    for mode in modes {
        for &backend in &backends {
            if backend != Backend::Sync {
                conclude(args, mode, backend, &cells, session);
            }
        }
    }
    if counts.iter().any(|&count| count > usable) {
        session.find(format!(
            "more than {} share the cores that there are: those figures, and fits \
             that they take part in, tell what oversubscription costs",
            brigade_report::units::count(usable, "worker")
        ));
    }
    Ok(())
}

fn about(args: &ScalingArgs, mode: ScalingMode) -> Map<String, Value> {
    case(json!({"kernel": args.kernel, "mode": name(mode)}))
}

/// Runs one turn in a fresh pool, so that its start-up time and memory can be measured. The same
/// jobs first run once without being measured, because the first jobs find cold caches and unmapped
/// pages. After that, every backend reuses the memory of results: a worker process reuses its
/// slabs; threads and plain code reuse what the allocator kept when the caller dropped the results.
fn turn(builder: PoolBuilder, jobs: usize, job: &JobSpec) -> Result<Readings, String> {
    let life = work::live(builder, jobs, jobs, |_| job.clone(), &mut |_| {})?;
    let (wall, startup) = (work::wall(&life.outcomes) as f64, life.startup.as_nanos() as f64);
    let summary = life.summary();
    let readings = [
        wall / 1e3,
        life.cpu as f64 / 1e3,
        startup / (startup + wall),
        summary.share(summary.communication),
        life.imbalance(),
        life.peak_memory() as f64,
    ];
    Ok(readings.map(|reading| vec![reading]).to_vec())
}

/// Fits the models of one backend.
fn conclude(
    args: &ScalingArgs,
    mode: ScalingMode,
    backend: Backend,
    cells: &[Cell],
    session: &mut BenchSession<'_>,
) {
    let of = |name: &str| {
        let wanted = Value::Object({
            let mut wanted = about(args, mode);
            wanted.insert("backend".to_owned(), name.into());
            wanted
        });
        let good = cells.iter().filter(|cell| cell.metric == "wall" && cell.error.is_none());
        good.filter(|cell| is(cell, &wanted)).collect::<Vec<_>>()
    };
    let (reference, walls) = (of("sync"), of(backend.name()));
    let blocks = whole_blocks(reference.iter().chain(&walls).copied());
    let figures = |cell: &Cell, of: &dyn Fn(f64, usize) -> f64| {
        let workers = cell.case.get("workers").and_then(Value::as_u64).unwrap_or(0) as usize;
        let figures = of_blocks(cell, blocks).into_iter().map(|us| of(us, workers));
        AtWorkers { workers, blocks: figures.collect() }
    };
    let at = |of: &dyn Fn(f64, usize) -> f64| {
        walls.iter().map(|cell| figures(cell, of)).collect::<Vec<_>>()
    };
    let Some(reference) = reference.first().map(|cell| of_blocks(cell, blocks)) else {
        return;
    };
    let times = at(&|us, _| us);
    let seed = args.common.plan.seed;
    let mut case = about(args, mode);
    case.insert("backend".to_owned(), backend.name().into());
    let case = Value::Object(case);
    let who = format!("{} on {}, {} scaling", args.kernel, backend.name(), name(mode));
    match mode {
        ScalingMode::Strong => {
            let model = models::speedup(&reference, &times, seed);
            let speedup = session.conclude(model, Model::Speedup, case.clone());
            if let Some(said) = speedup.and_then(|speedup| said_of_strong(&who, &speedup)) {
                session.find(said);
            }
            let throughputs = at(&|us, _| args.jobs as f64 * 1e6 / us);
            let amdahl = models::amdahl(&throughputs, seed);
            session.conclude(amdahl, Model::Amdahl, case.clone());
            let usl = session.conclude(models::usl(&throughputs, seed), Model::Usl, case);
            if let Some(usl) = usl {
                session.find(said_of_fit(&who, &usl));
            }
        }
        // Amdahl's law and the Universal Scalability Law apply to a fixed amount of work. For work
        // that grows with the number of workers, Gustafson's serial share is the complete answer.
        ScalingMode::Weak => {
            let model = models::scaled_speedup(&reference, &times, seed);
            let speedup = session.conclude(model, Model::ScaledSpeedup, case);
            if let Some(said) = speedup.and_then(|speedup| said_of_weak(&who, &speedup)) {
                session.find(said);
            }
        }
    }
}

fn said_of_strong(who: &str, speedup: &Speedup) -> Option<String> {
    let points = speedup.points.iter();
    let best = points.max_by(|a, b| a.speedup.estimate.total_cmp(&b.speedup.estimate))?;
    if best.speedup.interval[0] <= 1.0 {
        return Some(format!(
            "{who}: not surely faster than sync with any number of workers; at best with {}, {} times \
             as fast",
            workers(best.workers),
            interval(&best.speedup)
        ));
    }
    Some(format!(
        "{who}: fastest with {}, {} times as fast as sync, efficiency {:.0} %",
        workers(best.workers),
        interval(&best.speedup),
        best.efficiency.estimate * 100.0
    ))
}

fn said_of_weak(who: &str, speedup: &ScaledSpeedup) -> Option<String> {
    let points = speedup.points.iter();
    let of = |point: &ScaledSpeedupPoint| point.scaled_speedup.estimate;
    let best = points.max_by(|a, b| of(a).total_cmp(&of(b)))?;
    Some(format!(
        "{who}: {} do {} times the work that sync does in the same time",
        workers(best.workers),
        interval(&best.scaled_speedup)
    ))
}

fn said_of_fit(who: &str, usl: &Usl) -> String {
    let of = &usl.parameters;
    format!(
        "{who}: contention {} (only one worker at a time can do this share of the work), \
         coherency {} (what each pair costs); the fit is off by up to {:.0} %",
        percent(&of.sigma),
        percent(&of.kappa),
        usl.worst_residual * 100.0
    )
}

fn workers(count: usize) -> String {
    brigade_report::units::count(count, "worker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_no_faster_is_not_called_fastest() {
        let said = |times: f64| {
            let at = |workers, us: f64| AtWorkers { workers, blocks: vec![us; 6] };
            let speedup = models::speedup(&[100.0; 6], &[at(2, 100.0 / times)], 1).unwrap();
            said_of_strong("blur", &speedup).unwrap()
        };
        assert!(said(1.9).starts_with("blur: fastest with 2 workers, 1.90 (1.90 .. 1.90) times"));
        assert!(said(1.0).starts_with("blur: not surely faster than sync"), "{}", said(1.0));
    }
}
