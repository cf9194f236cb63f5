//! Round trips, job after job.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool, Transport};
use brigade_kernels::Registry;
use brigade_measure::experiment::{Metric, Variant};
use brigade_measure::floors;
use brigade_proto::{Buffer, Bytes, JobSpec};
use serde_json::{Map, Value, json};

use super::session::{Session, round_trip};
use super::{case, with};
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

pub(super) fn busy(pool: &Pool, job: impl Fn() -> JobSpec) -> Result<Vec<f64>, String> {
    // After a rest the first jobs find caches cold, and often both sides on one core.
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        round_trip(pool, job())?;
    }
    let begin = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < MOST && (samples.len() < 3 || begin.elapsed() < BLOCK) {
        samples.push(round_trip(pool, job())?);
    }
    Ok(samples)
}

/// Empty jobs and payloads.
pub(super) fn latency(sizes: &[u64], session: &mut Session<'_>) -> Result<(), Failure> {
    round_trips("latency", sizes, session)
}

/// Payloads that are large.
pub(super) fn bandwidth(sizes: &[u64], session: &mut Session<'_>) -> Result<(), Failure> {
    round_trips("bandwidth", sizes, session)
}

fn round_trips(experiment: &str, sizes: &[u64], session: &mut Session<'_>) -> Result<(), Failure> {
    let rivals = rivals(&session.registry)?;
    session.expect(sizes.len());
    for &bytes in sizes {
        let mut variants = Vec::new();
        if bytes == 0 {
            empty(&rivals, &mut variants);
        } else {
            payloads(&rivals, bytes, &mut variants)?;
        }
        session.measure(experiment, &[Metric::us("round_trip")], variants);
    }
    Ok(())
}

fn empty<'a>(rivals: &'a [Rival], variants: &mut Vec<Variant<'a>>) {
    let about = |state: &str| json!({"kernel": "noop", "bytes": 0, "state": state, "workers": 1});
    let noop = || JobSpec::new("noop");
    for Rival { pool, name } in rivals {
        variants.push(Variant::new(with(name.clone(), about("busy")), move || busy(pool, noop)));
        let idle = move || {
            thread::sleep(REST);
            round_trip(pool, noop())
        };
        let some = move || (0..5).map(|_| idle()).collect();
        variants.push(Variant::new(with(name.clone(), about("idle")), some));
    }
    let floor = with(case(json!({"floor": "two threads spinning"})), about("busy"));
    variants.push(Variant::new(floor, || Ok(vec![floors::spin_ping_pong_us(10_000)])));
    let floor = with(case(json!({"floor": "two threads, a socket"})), about("idle"));
    let socket = || floors::socket_ping_pong_us(200).map_err(|error| error.to_string());
    variants.push(Variant::new(floor, move || Ok(vec![socket()?])));
}

fn payloads<'a>(
    rivals: &'a [Rival],
    bytes: u64,
    variants: &mut Vec<Variant<'a>>,
) -> Result<(), Failure> {
    let no_memory = || Failure::usage(format!("no memory for --sizes {bytes}"));
    let about = || json!({"kernel": "touch", "bytes": bytes, "state": "busy", "workers": 1});
    let len = usize::try_from(bytes).map_err(|_| no_memory())?;
    // Written once: pages that never were are all one page of zeros.
    let on_heap = || {
        let mut buffer = Buffer::try_zeroed(len).ok_or_else(no_memory)?;
        buffer.fill(1);
        Ok::<_, Failure>(buffer)
    };
    let job = |bytes: &Bytes| JobSpec::new("touch").input(bytes.clone());
    for Rival { pool, name } in rivals {
        let copied = Bytes::from(on_heap()?);
        let in_arena = name.get("transport").is_some_and(|transport| transport == "arena");
        let place = if in_arena { json!({"placement": "copied"}) } else { Value::Null };
        let name_of = |place| with(with(name.clone(), place), about());
        variants.push(Variant::new(name_of(place), move || busy(pool, || job(&copied))));
        if in_arena {
            let mut input = pool.alloc(len).ok_or_else(no_memory)?;
            input.fill(1);
            let in_place = Bytes::from(input);
            let place = json!({"placement": "in-place"});
            variants.push(Variant::new(name_of(place), move || busy(pool, || job(&in_place))));
        }
    }
    let (from, mut to) = (on_heap()?, on_heap()?);
    let floor = with(case(json!({"floor": "one memcpy"})), about());
    let copies = move || Ok((0..5).map(|_| floors::memcpy_us(&from, &mut to)).collect());
    variants.push(Variant::new(floor, copies));
    Ok(())
}
