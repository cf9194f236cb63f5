//! Round trips, job after job.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool, Transport};
use brigade_kernels::Registry;
use brigade_measure::experiment::{Cell, Variant};
use brigade_measure::floors;
use brigade_proto::{Buffer, Bytes, JobSpec};
use serde_json::{Map, Value, json};

use super::{case, measure, round_trip, with};
use crate::args::CommonArgs;
use crate::exit::Failure;

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

pub(super) fn busy(pool: &Pool, job: impl Fn() -> JobSpec) -> Vec<f64> {
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

/// Empty jobs and payloads.
pub(super) fn latency(
    sizes: &[u64],
    common: &CommonArgs,
    registry: &Arc<Registry>,
) -> Result<Vec<Cell>, Failure> {
    round_trips("latency", sizes, common, registry)
}

/// Payloads that are large.
pub(super) fn bandwidth(
    sizes: &[u64],
    common: &CommonArgs,
    registry: &Arc<Registry>,
) -> Result<Vec<Cell>, Failure> {
    round_trips("bandwidth", sizes, common, registry)
}

fn round_trips(
    experiment: &str,
    sizes: &[u64],
    common: &CommonArgs,
    registry: &Arc<Registry>,
) -> Result<Vec<Cell>, Failure> {
    let rivals = rivals(registry)?;
    let mut cells = Vec::new();
    for &bytes in sizes {
        let mut variants = Vec::new();
        if bytes == 0 {
            empty(&rivals, &mut variants);
        } else {
            payloads(&rivals, bytes, &mut variants)?;
        }
        cells.extend(measure(experiment, "round_trip", variants, common));
    }
    Ok(cells)
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
