//! What each further guard between jobs costs.

use std::time::Duration;

use brigade_exec::{Backend, PoolBuilder, PoolConfig, Sandbox, Transport};
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::JobSpec;
use brigade_sys::sandbox;
use serde_json::json;

use super::latency::busy;
use super::pools::Pools;
use super::session::{Session, start};
use super::{case, with};
use crate::args::MeasuredArgs;
use crate::exit::Failure;

/// Far longer than any of them takes: what is measured is the watching.
const LONG: Duration = Duration::from_secs(60);

/// Round trips of empty jobs, job after job, behind one guard more each.
pub(super) fn isolation(asked: &MeasuredArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let pools = session.pools(asked)?;
    let mut variants = Vec::new();
    for workers in pools.workers(&[1]) {
        for (guard, backend, builder) in guards(&pools, workers, session) {
            let pool = start(builder);
            let name = case(json!({"guard": guard, "backend": backend.name()}));
            let about = json!({"kernel": "noop", "state": "busy", "workers": workers});
            let run = move || Ok(busy(&pool, || JobSpec::new("noop"))?.swap_remove(0));
            variants.push(Variant::new(with(name, about), run));
        }
    }
    session.measure("isolation", &[Metric::us("round_trip")], variants);
    Ok(())
}

/// The rows, and pools that have one guard each. Guards that the user asks for choose the
/// rows, with the limits that were given.
fn guards(
    pools: &Pools,
    workers: usize,
    session: &mut Session<'_>,
) -> Vec<(String, Backend, PoolBuilder)> {
    let PoolConfig { pin, timeout, memory_limit, cpu_limit, sandbox, .. } = pools.of_processes();
    let asked =
        [*pin, timeout.is_some(), memory_limit.is_some(), cpu_limit.is_some(), sandbox.is_some()];
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
        // The same guards cost the same behind the other transports.
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
