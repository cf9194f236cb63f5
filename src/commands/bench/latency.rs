//! Measures sequential round trips.

use std::thread;
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool, Transport};
use brigade_measure::experiment::{Readings, Variant};
use brigade_measure::floors;
use brigade_proto::{Buffer, Bytes, JobSpec, Spans};
use serde_json::{Map, Value, json};

use super::pools::Pools;
use super::session::{BenchSession, StartedPool, start, started, trip};
use super::{case, spans, with, work};
use crate::args::MeasuredArgs;
use crate::exit::Failure;

/// A pool to measure, and its parameters.
struct LatencyCandidate {
    pool: StartedPool,
    name: Map<String, Value>,
    /// Whether its payloads can lie in shared memory that its workers map.
    has_arena: bool,
}

fn rivals(pools: &Pools) -> Vec<LatencyCandidate> {
    let mut rivals = Vec::new();
    let mut add = |backend, workers: usize, transport: Option<Transport>| {
        let mut name = with(pools.case(backend), json!({"workers": workers}));
        let mut builder = pools.builder(backend, workers);
        if let Some(transport) = transport {
            name.insert("transport".to_owned(), transport.name().into());
            builder = builder.transport(transport);
        }
        let has_arena = transport == Some(Transport::Arena);
        rivals.push(LatencyCandidate { pool: start(builder), name, has_arena });
    };
    let workers = pools.workers(&[1]);
    let all = [Backend::Sync, Backend::Async, Backend::Threads, Backend::Processes];
    for backend in pools.backends(&all) {
        let workers = if work::has_workers(backend) { &workers[..] } else { &[1] };
        for &workers in workers {
            if backend != Backend::Processes {
                add(backend, workers, None);
                continue;
            }
            for transport in
                pools.transports(&[Transport::Arena, Transport::Shm, Transport::Inline])
            {
                add(backend, workers, Some(transport));
            }
        }
    }
    rivals
}

/// Minimum duration of the round trips of one block, and their maximum number.
const BLOCK: Duration = Duration::from_millis(20);
const MOST: usize = 200;
/// Before each block, jobs run for this long without being measured.
const WARM_UP: Duration = Duration::from_millis(10);
/// How long a pool rests before each job of an idle variant.
const REST: Duration = Duration::from_millis(10);
/// Number of such jobs per block.
const IDLE: usize = 5;

/// Measures sequential round trips with their spans.
pub(super) fn busy(pool: &StartedPool, job: impl Fn() -> JobSpec) -> Result<Readings, String> {
    let pool = started(pool)?;
    // After a rest, the first jobs find cold caches, and the caller and the worker are often on one
    // core.
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        trip(pool, job())?;
    }
    let begin = Instant::now();
    let mut trips = Vec::new();
    while trips.len() < MOST && (trips.len() < 3 || begin.elapsed() < BLOCK) {
        trips.push(spans_of(pool, job())?);
    }
    Ok(spans::readings(&trips))
}

fn idle(pool: &StartedPool) -> Result<Readings, String> {
    let pool = started(pool)?;
    let mut trips = Vec::new();
    for _ in 0..IDLE {
        thread::sleep(REST);
        trips.push(spans_of(pool, JobSpec::new("noop"))?);
    }
    Ok(spans::readings(&trips))
}

fn spans_of(pool: &Pool, job: JobSpec) -> Result<(f64, Spans), String> {
    let (us, outcome) = trip(pool, job)?;
    Ok((us, outcome.stamps.spans()))
}

/// Runs the experiment "latency".
pub(super) fn latency(
    sizes: &[u64],
    asked: &MeasuredArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    round_trips("latency", sizes, asked, session)
}

/// Runs the experiment "bandwidth".
pub(super) fn bandwidth(
    sizes: &[u64],
    asked: &MeasuredArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    round_trips("bandwidth", sizes, asked, session)
}

fn round_trips(
    experiment: &str,
    sizes: &[u64],
    asked: &MeasuredArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    let rivals = rivals(&session.pools(asked)?);
    session.expect(sizes.len());
    for &bytes in sizes {
        let variants = if bytes == 0 { empty(&rivals) } else { payloads(&rivals, bytes) };
        session.measure(experiment, &spans::METRICS, variants);
    }
    Ok(())
}

/// A variant that also returns spans.
fn variant<'a>(
    case: Map<String, Value>,
    run: impl FnMut() -> Result<Readings, String> + 'a,
) -> Variant<'a> {
    Variant { case, run: Box::new(run) }
}

fn empty(rivals: &[LatencyCandidate]) -> Vec<Variant<'_>> {
    let mut variants = Vec::new();
    let about = |state: &str| json!({"kernel": "noop", "bytes": 0, "state": state});
    for LatencyCandidate { pool, name, .. } in rivals {
        let job = || JobSpec::new("noop");
        variants.push(variant(with(name.clone(), about("busy")), move || busy(pool, job)));
        variants.push(variant(with(name.clone(), about("idle")), move || idle(pool)));
    }
    // One of the two threads plays the worker.
    let one = json!({"workers": 1});
    let floor =
        |what: &str, state| with(with(case(json!({"floor": what})), about(state)), one.clone());
    variants.push(Variant::new(floor("two threads spinning", "busy"), || {
        Ok(vec![floors::spin_ping_pong_us(10_000)])
    }));
    variants.push(Variant::new(floor("two threads, a socket", "idle"), || {
        Ok(vec![floors::socket_ping_pong_us(200).map_err(|error| error.to_string())?])
    }));
    variants
}

/// A payload on the heap, written once, because all pages that were never written are the same zero
/// page.
pub(super) fn on_heap(bytes: u64) -> Result<Buffer, String> {
    let buffer = usize::try_from(bytes).ok().and_then(Buffer::try_zeroed);
    let mut buffer = buffer.ok_or_else(|| no_memory(bytes))?;
    buffer.fill(1);
    Ok(buffer)
}

/// The same in shared memory that the workers map.
pub(super) fn in_arena(pool: &StartedPool, bytes: u64) -> Result<Bytes, String> {
    let len = usize::try_from(bytes).map_err(|_| no_memory(bytes))?;
    let mut buffer = started(pool)?.alloc(len).ok_or_else(|| no_memory(bytes))?;
    buffer.fill(1);
    Ok(buffer.into())
}

fn no_memory(bytes: u64) -> String {
    format!("no memory for a payload of {bytes} bytes; leave it out of --sizes")
}

fn payloads(rivals: &[LatencyCandidate], bytes: u64) -> Vec<Variant<'_>> {
    let mut variants = Vec::new();
    let about = json!({"kernel": "touch", "bytes": bytes, "state": "busy"});
    let touch = |pool, input: &Result<Bytes, String>| {
        let input = input.as_ref().map_err(Clone::clone)?;
        busy(pool, || JobSpec::new("touch").input(input.clone()))
    };
    for LatencyCandidate { pool, name, has_arena } in rivals {
        let name = with(name.clone(), about.clone());
        let copied = on_heap(bytes).map(Bytes::from);
        let run = move || touch(pool, &copied);
        if !has_arena {
            variants.push(variant(name, run));
            continue;
        }
        variants.push(variant(with(name.clone(), json!({"placement": "copied"})), run));
        let in_place = in_arena(pool, bytes);
        let run = move || touch(pool, &in_place);
        variants.push(variant(with(name, json!({"placement": "in-place"})), run));
    }
    let name = with(with(case(json!({"floor": "one memcpy"})), about), json!({"workers": 1}));
    let mut ends = on_heap(bytes).and_then(|from| Ok((from, on_heap(bytes)?)));
    variants.push(Variant::new(name, move || {
        let (from, to) = ends.as_mut().map_err(|error| error.clone())?;
        Ok((0..5).map(|_| floors::memcpy_us(from, to)).collect())
    }));
    variants
}
