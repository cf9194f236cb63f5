//! Measures the cost of each additional isolation mechanism ("guard") between jobs.

use std::rc::Rc;
use std::time::Duration;

use brigade_exec::{Backend, PoolBuilder, PoolConfig, Sandbox, Transport};
use brigade_measure::experiment::{Cell, Metric, Variant};
use brigade_measure::models::{self, AtWorkers};
use brigade_proto::{Bytes, JobSpec};
use brigade_sys::sandbox;
use serde_json::json;

use super::figures::{interval, is, of_blocks, of_groups, time, whole_blocks};
use super::latency::{busy, in_arena, on_heap};
use super::pools::Pools;
use super::session::{BenchSession, start};
use super::{case, with};
use crate::args::MeasuredArgs;
use crate::exit::Failure;

/// Far longer than any job takes: only the cost of supervision is measured.
const LONG: Duration = Duration::from_secs(60);

/// Measures sequential round trips of empty jobs, with one additional guard per row, and of jobs
/// with payloads whose inputs are readable by all workers or only by the job's own worker.
pub(super) fn isolation(
    sizes: &[u64],
    asked: &MeasuredArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    let pools = session.pools(asked)?;
    let sizes = match sizes {
        [] if !are_guards_asked_for(pools.of_processes()).contains(&true) => &[1 << 20, 8 << 20],
        sizes => sizes,
    };
    // With the other transports, each job has its own inputs anyway.
    let transports = pools.transports(&[Transport::Arena]);
    let has_inputs = pools.wants(Backend::Processes) && transports.contains(&Transport::Arena);
    let sizes = if has_inputs { sizes } else { &[] };
    session.expect(1 + sizes.len());
    empty(&pools, session);
    for &bytes in sizes {
        inputs(&pools, bytes, session);
    }
    Ok(())
}

const FOR_ALL: &str = "inputs for all to read";
const ITS_OWN: &str = "inputs of its own";
const PLACEMENTS: [&str; 2] = ["copied", "in-place"];

/// Measures jobs with a payload. The sandbox is off, because other rows show its cost.
fn inputs(pools: &Pools, bytes: u64, session: &mut BenchSession<'_>) {
    let mut variants = Vec::new();
    for workers in pools.workers(&[1]) {
        for (own, guard) in [(false, FOR_ALL), (true, ITS_OWN)] {
            let builder = pools.builder(Backend::Processes, workers).transport(Transport::Arena);
            let pool = start(builder.sandbox(None).own_inputs(own));
            let copied = on_heap(bytes).map(Bytes::from);
            let in_place = in_arena(&pool, bytes);
            let pool = Rc::new(pool);
            for (placement, input) in PLACEMENTS.into_iter().zip([copied, in_place]) {
                let pool = Rc::clone(&pool);
                let name = json!({
                    "guard": guard, "backend": "processes", "kernel": "touch", "bytes": bytes,
                    "placement": placement, "state": "busy", "workers": workers,
                });
                variants.push(Variant::new(case(name), move || {
                    let input = input.as_ref().map_err(Clone::clone)?;
                    let job = || JobSpec::new("touch").input(input.clone());
                    Ok(busy(&pool, job)?.swap_remove(0))
                }));
            }
        }
    }
    let cells = session.measure("isolation", &[Metric::us("round_trip")], variants).to_vec();
    for workers in pools.workers(&[1]) {
        for placement in PLACEMENTS {
            let find = |guard: &str| {
                let wanted = json!({"guard": guard, "placement": placement, "workers": workers});
                cells.iter().find(|cell| is(cell, &wanted) && cell.error.is_none() && cell.n > 0)
            };
            if let (Some(own), Some(shared)) = (find(ITS_OWN), find(FOR_ALL)) {
                let size = brigade_report::units::bytes(bytes);
                let ratio = ratio(own, shared, session.common.plan.seed);
                session.find(format!(
                    "A job with {size} {placement} takes {} where its worker has its inputs to \
                     itself, {} where all workers can read them: {ratio}",
                    time(own.p50),
                    time(shared.p50),
                ));
            }
        }
    }
}

/// How many times as long `one` takes as `other`, in words.
fn ratio(one: &Cell, other: &Cell, seed: u64) -> String {
    let blocks = whole_blocks([one, other]);
    let times = AtWorkers { workers: 1, blocks: of_groups(other, blocks) };
    match models::speedup(&of_blocks(one, blocks), &[times], seed) {
        Ok(ratio) if !ratio.points.is_empty() => interval(&ratio.points[0].speedup),
        _ => "too few blocks for an interval".to_owned(),
    }
}

fn empty(pools: &Pools, session: &mut BenchSession<'_>) {
    let mut variants = Vec::new();
    for workers in pools.workers(&[1]) {
        for (guard, backend, builder) in guards(pools, workers, session) {
            let pool = start(builder);
            let name = case(json!({"guard": guard, "backend": backend.name()}));
            let about = json!({"kernel": "noop", "state": "busy", "workers": workers});
            let run = move || Ok(busy(&pool, || JobSpec::new("noop"))?.swap_remove(0));
            variants.push(Variant::new(with(name, about), run));
        }
    }
    session.measure("isolation", &[Metric::us("round_trip")], variants);
}

/// Which guards are configured: CPU binding, time limit, memory limit, processor time limit,
/// sandbox.
fn are_guards_asked_for(config: &PoolConfig) -> [bool; 5] {
    let PoolConfig { pin, timeout, memory_limit, cpu_limit, sandbox, .. } = config;
    [*pin, timeout.is_some(), memory_limit.is_some(), cpu_limit.is_some(), sandbox.is_some()]
}

/// The rows of the table, each with a pool that has one guard. If the user configures guards, only
/// those get a row, with the configured limits.
fn guards(
    pools: &Pools,
    workers: usize,
    session: &mut BenchSession<'_>,
) -> Vec<(String, Backend, PoolBuilder)> {
    let PoolConfig { timeout, memory_limit, cpu_limit, sandbox, .. } = pools.of_processes();
    let asked = are_guards_asked_for(pools.of_processes());
    let [pinned, watched, memory, cpu, sandboxed] =
        asked.map(|this| this || !asked.contains(&true));
    let bare = |backend| {
        let builder = pools.builder(backend, workers).pin(false).timeout(None);
        builder.memory_limit(None).cpu_limit(None).sandbox(None)
    };
    let transports = pools.transports(&[Transport::Inline, Transport::Shm, Transport::Arena]);
    let mut rows = Vec::new();
    for (backend, transport, who) in [
        (Backend::Threads, None, "a thread"),
        (Backend::Processes, Some(Transport::Inline), "a process, messages"),
        (Backend::Processes, Some(Transport::Shm), "a process, shared memory for each job"),
        (Backend::Processes, Some(Transport::Arena), "a process, arena"),
    ] {
        if !pools.wants(backend) || transport.is_some_and(|of| !transports.contains(&of)) {
            continue;
        }
        let base = || match transport {
            Some(transport) => bare(backend).transport(transport),
            None => bare(backend),
        };
        let mut add = |guard: &str, builder| rows.push((format!("{who}{guard}"), backend, builder));
        add("", base());
        // With the other transports the same guards cost the same.
        if matches!(transport, Some(Transport::Inline | Transport::Shm)) {
            continue;
        }
        if pinned {
            add(", pinned", base().pin(true));
        }
        if watched {
            add(", time limit", base().timeout(timeout.or(Some(LONG))));
        }
        if backend != Backend::Processes {
            continue;
        }
        if memory {
            add(", memory limit", base().memory_limit(memory_limit.or(Some(1 << 30))));
        }
        if cpu {
            add(", cpu limit", base().cpu_limit(cpu_limit.or(Some(LONG))));
        }
        let lacking = sandbox::missing();
        if sandboxed && lacking.is_empty() {
            add(", sandbox", base().sandbox(sandbox.or(Some(Sandbox::Strict))));
        }
        for part in lacking {
            session.find(format!("No row for the sandbox: this kernel has no {part}."));
        }
    }
    rows
}
