use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool, PoolBuilder, StartMethod, Transport};
use brigade_kernels::Registry;
use brigade_measure::experiment::{self, Cell, Variant};
use brigade_measure::floors;
use brigade_measure::host::Host;
use brigade_proto::{Buffer, Bytes, JobSpec, Status};
use brigade_report::bench::{self, Bench};
use serde_json::{Map, Value, json};

use crate::args::{BenchArgs, CommonArgs, Experiment, LatencyArgs, ListFormat, StartupArgs};
use crate::console::{Progress, Results};
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &BenchArgs, registry: Registry) -> Result<Exit, Failure> {
    let registry = Arc::new(registry);
    let common = match &args.experiment {
        Experiment::Latency(args) => &args.common,
        Experiment::Startup(args) => &args.common,
    };
    let mut results = Results::open(common.output.output.as_deref(), &[])?;
    // The load of the machine is read before the measurement adds to it.
    let host = Host::read();
    let cells = match &args.experiment {
        Experiment::Latency(args) => latency(args, &registry)?,
        Experiment::Startup(args) => startup(args, &registry)?,
    };
    let bench = Bench::new(&host, common.seed, cells);
    match common.format {
        ListFormat::Human => bench::human(&mut results, &bench)?,
        ListFormat::Json => bench::json(&mut results, &bench)?,
    }
    results.flush()?;
    Ok(Exit::Ok)
}

fn case(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn measure(
    experiment: &str,
    metric: &'static str,
    mut variants: Vec<Variant<'_>>,
    common: &CommonArgs,
) -> Vec<Cell> {
    let blocks = common.blocks as usize;
    let mut progress = Progress::start(Some((blocks * variants.len()) as u64), true);
    experiment::run(experiment, metric, &mut variants, blocks, common.seed, |_| progress.job(true))
}

/// A pool to measure, and what it is called.
struct Rival {
    pool: Pool,
    name: Map<String, Value>,
}

fn rivals(registry: &Arc<Registry>) -> Result<Vec<Rival>, Failure> {
    let builder = || Pool::builder().workers(1).registry(Arc::clone(registry));
    let mut rivals = Vec::new();
    for backend in [Backend::Sync, Backend::Async, Backend::Threads] {
        let name = case(json!({"backend": backend.name()}));
        rivals.push(Rival { pool: builder().backend(backend).build()?, name });
    }
    for transport in [Transport::Arena, Transport::Shm, Transport::Inline] {
        let name = case(json!({"backend": "processes", "transport": transport.name()}));
        rivals.push(Rival { pool: builder().transport(transport).build()?, name });
    }
    Ok(rivals)
}

/// Round trips of one block: enough to fill this time, but not more than so many.
const BLOCK: Duration = Duration::from_millis(20);
const MOST: usize = 200;
/// Jobs for so long are run before a block and not counted.
const WARM_UP: Duration = Duration::from_millis(10);
/// How long a pool rests before each job that finds it asleep.
const REST: Duration = Duration::from_millis(10);

fn round_trip(pool: &Pool, job: JobSpec) -> f64 {
    let begin = Instant::now();
    let status = pool.submit(job).map(|handle| handle.wait().status());
    let us = begin.elapsed().as_secs_f64() * 1e6;
    // A time of a job that failed is no time.
    if matches!(status, Ok(Status::Ok)) { us } else { f64::NAN }
}

fn busy(pool: &Pool, job: impl Fn() -> JobSpec) -> Vec<f64> {
    // After a rest the first jobs find caches cold, and often both sides on one core.
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        round_trip(pool, job());
    }
    let begin = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < MOST && (samples.len() < 3 || begin.elapsed() < BLOCK) {
        samples.push(round_trip(pool, job()));
    }
    samples
}

fn latency(args: &LatencyArgs, registry: &Arc<Registry>) -> Result<Vec<Cell>, Failure> {
    let rivals = rivals(registry)?;
    let mut cells = Vec::new();
    for &bytes in &args.sizes {
        let mut variants = Vec::new();
        if bytes == 0 {
            empty(&rivals, &mut variants);
        } else {
            payloads(&rivals, bytes, &mut variants)?;
        }
        cells.extend(measure("latency", "round_trip", variants, &args.common));
    }
    Ok(cells)
}

fn with(mut name: Map<String, Value>, more: Value) -> Map<String, Value> {
    name.extend(case(more));
    name
}

fn empty<'a>(rivals: &'a [Rival], variants: &mut Vec<Variant<'a>>) {
    let about = |state: &str| json!({"kernel": "noop", "bytes": 0, "state": state, "workers": 1});
    let noop = || JobSpec::new("noop");
    for Rival { pool, name } in rivals {
        variants.push(Variant {
            case: with(name.clone(), about("busy")),
            run: Box::new(move || busy(pool, noop)),
        });
        let idle = move || {
            thread::sleep(REST);
            round_trip(pool, noop())
        };
        variants.push(Variant {
            case: with(name.clone(), about("idle")),
            run: Box::new(move || (0..5).map(|_| idle()).collect()),
        });
    }
    variants.push(Variant {
        case: with(case(json!({"floor": "two threads spinning"})), about("busy")),
        run: Box::new(|| vec![floors::spin_ping_pong_us(10_000)]),
    });
    variants.push(Variant {
        case: with(case(json!({"floor": "two threads, a socket"})), about("idle")),
        run: Box::new(|| vec![floors::socket_ping_pong_us(200).unwrap_or(f64::NAN)]),
    });
}

fn payloads<'a>(
    rivals: &'a [Rival],
    bytes: u64,
    variants: &mut Vec<Variant<'a>>,
) -> Result<(), Failure> {
    let no_memory = || Failure::usage(format!("no memory for --sizes {bytes}"));
    let about = || json!({"kernel": "touch", "bytes": bytes, "state": "busy", "workers": 1});
    let len = usize::try_from(bytes).map_err(|_| no_memory())?;
    let on_heap = || Buffer::try_zeroed(len).ok_or_else(no_memory);
    let job = |bytes: &Bytes| JobSpec::new("touch").input(bytes.clone());
    for Rival { pool, name } in rivals {
        let copied = Bytes::from(on_heap()?);
        let in_arena = name.get("transport").is_some_and(|transport| transport == "arena");
        let place = if in_arena { json!({"placement": "copied"}) } else { Value::Null };
        variants.push(Variant {
            case: with(with(name.clone(), place), about()),
            run: Box::new(move || busy(pool, || job(&copied))),
        });
        if in_arena {
            let mut input = pool.alloc(len).ok_or_else(no_memory)?;
            input.fill(1);
            let in_place = Bytes::from(input);
            variants.push(Variant {
                case: with(with(name.clone(), json!({"placement": "in-place"})), about()),
                run: Box::new(move || busy(pool, || job(&in_place))),
            });
        }
    }
    let (from, mut to) = (on_heap()?, on_heap()?);
    variants.push(Variant {
        case: with(case(json!({"floor": "one memcpy"})), about()),
        run: Box::new(move || (0..5).map(|_| floors::memcpy_us(&from, &mut to)).collect()),
    });
    Ok(())
}

/// What is measured of a start.
#[derive(Clone, Copy)]
enum Until {
    Ready,
    FirstResult,
}

fn startup(args: &StartupArgs, registry: &Arc<Registry>) -> Result<Vec<Cell>, Failure> {
    let mut cells = Vec::new();
    for (until, metric) in [(Until::Ready, "ready"), (Until::FirstResult, "first_result")] {
        let mut variants = Vec::new();
        for &workers in &args.workers {
            let about = json!({"workers": workers});
            let builder = move || Pool::builder().workers(workers).registry(Arc::clone(registry));
            // So that a wrong count is refused before anything is measured.
            builder().backend(Backend::Threads).build()?;
            let threads = move || builder().backend(Backend::Threads);
            let name = case(json!({"backend": "threads"}));
            variants.push(start_variant(with(name, about.clone()), threads, until));
            for method in [StartMethod::Spawn, StartMethod::Forkserver] {
                let name = json!({"backend": "processes", "start_method": method.name()});
                let start = move || builder().start_method(method);
                variants.push(start_variant(with(case(name), about.clone()), start, until));
            }
            variants.push(Variant {
                case: with(case(json!({"floor": "as many empty programs"})), about),
                run: Box::new(move || vec![floors::empty_program_us(workers).unwrap_or(f64::NAN)]),
            });
        }
        cells.extend(measure("startup", metric, variants, &args.common));
    }
    Ok(cells)
}

fn start_variant<'a>(
    case: Map<String, Value>,
    builder: impl Fn() -> PoolBuilder + 'a,
    until: Until,
) -> Variant<'a> {
    let run = move || {
        let begin = Instant::now();
        let Ok(pool) = builder().build() else {
            return vec![f64::NAN];
        };
        if let Until::FirstResult = until
            && pool.submit(JobSpec::new("noop")).map(|handle| handle.wait()).is_err()
        {
            return vec![f64::NAN];
        }
        vec![begin.elapsed().as_secs_f64() * 1e6]
    };
    Variant { case, run: Box::new(run) }
}
