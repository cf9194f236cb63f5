//! What each further guard between jobs costs.

use std::sync::Arc;
use std::time::Duration;

use brigade_exec::{Backend, Pool, PoolBuilder, Sandbox, Transport};
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::JobSpec;
use brigade_sys::sandbox;
use serde_json::json;

use super::latency::busy;
use super::session::Session;
use super::{case, with};
use crate::exit::Failure;

/// Round trips of empty jobs, job after job, behind one guard more each.
pub(super) fn isolation(session: &mut Session<'_>) -> Result<(), Failure> {
    let builder = || Pool::builder().workers(1).registry(Arc::clone(&session.registry));
    let threads = || builder().backend(Backend::Threads);
    // Far longer than any of them takes: what is measured is the watching.
    let watched = |builder: PoolBuilder| builder.timeout(Some(Duration::from_secs(60)));
    let mut guards: Vec<(&str, PoolBuilder)> = vec![
        ("a thread", threads()),
        ("a thread, pinned", threads().pin(true)),
        ("a thread, time limit", watched(threads())),
        ("a process, messages", builder().transport(Transport::Inline)),
        ("a process, shared memory for each job", builder().transport(Transport::Shm)),
        ("a process, arena", builder()),
        ("a process, arena, pinned", builder().pin(true)),
        ("a process, arena, time limit", watched(builder())),
        ("a process, arena, memory limit", builder().memory_limit(Some(1 << 30))),
        ("a process, arena, cpu limit", builder().cpu_limit(Some(Duration::from_secs(60)))),
    ];
    let lacking = sandbox::missing();
    if lacking.is_empty() {
        let sandboxed = builder().sandbox(Some(Sandbox::Strict));
        guards.push(("a process, arena, sandbox", sandboxed));
    }
    for part in lacking {
        session.find(format!("No row for the sandbox: this kernel has no {part}."));
    }
    let mut variants = Vec::new();
    for (guard, builder) in guards {
        let pool = builder.build()?;
        let backend = pool.config().backend.name();
        let name = case(json!({"guard": guard, "backend": backend}));
        let about = json!({"kernel": "noop", "state": "busy", "workers": 1});
        let run = move || busy(&pool, || JobSpec::new("noop"));
        variants.push(Variant::new(with(name, about), run));
    }
    session.measure("isolation", &[Metric::us("round_trip")], variants);
    Ok(())
}
