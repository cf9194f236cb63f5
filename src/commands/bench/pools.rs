//! The pools to measure: the user's settings for them, and their names in the result.

use std::sync::Arc;

use brigade_exec::{Backend, Pool, PoolBuilder, PoolConfig, StartMethod, Transport};
use brigade_kernels::Registry;
use serde_json::{Map, Value, json};

use super::case;
use crate::args::{Experiment, MeasuredArgs};
use crate::config;
use crate::exit::Failure;

/// The user's settings.
#[derive(Clone)]
pub(super) struct Pools {
    asked: MeasuredArgs,
    registry: Arc<Registry>,
    /// Settings of a pool of worker processes.
    processes: PoolConfig,
    /// Settings that have no key of their own in a case, as text: `--timeout 5s`.
    options: Vec<String>,
    process_options: Vec<String>,
}

impl Pools {
    /// Rejects settings that no pool supports, before anything is measured.
    pub(super) fn new(asked: &MeasuredArgs, registry: &Arc<Registry>) -> Result<Self, Failure> {
        let own = &asked.processes;
        let worker = &asked.worker;
        let mut processes =
            PoolConfig { pin: worker.pin, timeout: worker.timeout, ..PoolConfig::default() };
        config::guards(&own.guards, &mut processes)?;
        processes.transport = own.transport.first().copied().unwrap_or(processes.transport);
        processes.start_method =
            own.start_method.first().copied().unwrap_or(processes.start_method);
        let depths = if own.depth.is_empty() { vec![processes.depth] } else { own.depth.clone() };
        processes.depth = depths[0];
        for &depth in &depths {
            PoolConfig { depth, ..processes.clone() }.check()?;
        }
        for &workers in &asked.workers {
            PoolConfig { workers, ..processes.clone() }.check()?;
        }
        let mut options = Vec::new();
        options.extend(asked.worker.pin.then(|| "--pin".to_owned()));
        options.extend(asked.worker.timeout.map(|timeout| {
            format!(
                "--timeout {}",
                humantime::format_duration(timeout).to_string().replace(' ', "")
            )
        }));
        let guards = config::given(&own.guards).into_iter();
        let process_options = guards
            .map(|(flag, value)| match flag {
                // The value of `--sandbox` is optional, so it must be attached with `=`.
                "--sandbox" => format!("{flag}={value}"),
                _ => format!("{flag} {value}"),
            })
            .collect();
        let (asked, registry) = (asked.clone(), Arc::clone(registry));
        Ok(Self { asked, registry, processes, options, process_options })
    }

    /// The backends that an experiment measures: the user's, or `all`.
    pub(super) fn backends(&self, all: &[Backend]) -> Vec<Backend> {
        let of = if self.asked.backend.is_empty() { all } else { &self.asked.backend };
        distinct(of)
    }

    /// Whether an experiment that compares this backend should measure it.
    pub(super) fn wants(&self, backend: Backend) -> bool {
        self.asked.backend.is_empty() || self.asked.backend.contains(&backend)
    }

    pub(super) fn workers(&self, all: &[usize]) -> Vec<usize> {
        distinct(if self.asked.workers.is_empty() { all } else { &self.asked.workers })
    }

    pub(super) fn transports(&self, all: &[Transport]) -> Vec<Transport> {
        let of = &self.asked.processes.transport;
        distinct(if of.is_empty() { all } else { of })
    }

    pub(super) fn start_methods(&self, all: &[StartMethod]) -> Vec<StartMethod> {
        let of = &self.asked.processes.start_method;
        distinct(if of.is_empty() { all } else { of })
    }

    pub(super) fn depths(&self, all: &[usize]) -> Vec<usize> {
        let of = &self.asked.processes.depth;
        distinct(if of.is_empty() { all } else { of })
    }

    /// Settings of pools of worker processes.
    pub(super) fn of_processes(&self) -> &PoolConfig {
        &self.processes
    }

    /// A pool with the user's settings. Backends other than `processes` support only CPU binding
    /// and the time limit; `sync` runs on the calling thread and supports only the time limit.
    pub(super) fn builder(&self, backend: Backend, workers: usize) -> PoolBuilder {
        let base = match backend {
            Backend::Processes => self.processes.clone(),
            _ => PoolConfig {
                pin: self.processes.pin && backend != Backend::Sync,
                timeout: self.processes.timeout,
                ..PoolConfig::default()
            },
        };
        let config = PoolConfig { backend, workers, ..base };
        Pool::builder().config(config).registry(Arc::clone(&self.registry))
    }

    /// The parameters that identify a pool: its backend, and the settings that the user changed.
    pub(super) fn case(&self, backend: Backend) -> Map<String, Value> {
        let mut name = case(json!({"backend": backend.name()}));
        let is_pin = |option: &&String| option.as_str() == "--pin";
        let mut options: Vec<&str> = self
            .options
            .iter()
            .filter(|option| backend != Backend::Sync || !is_pin(option))
            .map(String::as_str)
            .collect();
        if backend == Backend::Processes {
            let own = &self.asked.processes;
            let mut set = |key: &str, value: Value| name.insert(key.to_owned(), value);
            if let [transport] = own.transport[..] {
                set("transport", transport.name().into());
            }
            if let [method] = own.start_method[..] {
                set("start_method", method.name().into());
            }
            if let [depth] = own.depth[..] {
                set("depth", depth.into());
            }
            options.extend(self.process_options.iter().map(String::as_str));
        }
        if !options.is_empty() {
            name.insert("options".to_owned(), options.join(" ").into());
        }
        name
    }

    /// All settings of the user, for the result.
    pub(super) fn config(&self) -> Map<String, Value> {
        let own = &self.asked.processes;
        let mut config = Map::new();
        let mut set = |key: &str, names: Vec<Value>| {
            if !names.is_empty() {
                config.insert(key.to_owned(), names.into());
            }
        };
        set("backend", self.asked.backend.iter().map(|of| of.name().into()).collect());
        set("workers", self.asked.workers.iter().map(|&of| of.into()).collect());
        set("transport", own.transport.iter().map(|of| of.name().into()).collect());
        set("start_method", own.start_method.iter().map(|of| of.name().into()).collect());
        set("depth", own.depth.iter().map(|&of| of.into()).collect());
        let options = self.options.iter().chain(&self.process_options);
        set("options", options.map(|option| option.as_str().into()).collect());
        config
    }

    /// Rejects settings that the experiment does not support. If they were ignored silently, users
    /// would believe that they had an effect.
    pub(super) fn check(&self, experiment: &Experiment) -> Result<(), Failure> {
        let own = &self.asked.processes;
        let (name, backends) = measured(experiment);
        let names =
            |of: &[Backend]| of.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", ");
        if let Some(other) = self.asked.backend.iter().find(|of| !backends.contains(of)) {
            return Err(Failure::usage(format!(
                "bench {name} does not measure --backend {other}; it has: {}",
                names(backends)
            )));
        }
        let many = |flag: &str, count: usize, by: &[&str]| match count > 1 && !by.contains(&name) {
            true => Err(Failure::usage(format!(
                "bench {name} takes one {flag}; a list is for bench {}",
                by.join(", ")
            ))),
            false => Ok(()),
        };
        many("--transport", own.transport.len(), &["latency", "bandwidth", "isolation"])?;
        many("--start-method", own.start_method.len(), &["startup"])?;
        many("--depth", own.depth.len(), &["throughput"])?;
        if self.wants(Backend::Processes) {
            return Ok(());
        }
        let lists = [
            ("--transport", own.transport.is_empty()),
            ("--start-method", own.start_method.is_empty()),
            ("--depth", own.depth.is_empty()),
        ];
        let given = lists.iter().find(|(_, is_empty)| !is_empty).map(|(flag, _)| *flag);
        match given.or(config::given(&own.guards).first().map(|(flag, _)| *flag)) {
            None => Ok(()),
            Some(flag) => Err(Failure::usage(format!(
                "{flag} does not go with --backend {}, without worker processes; add processes or \
                 leave {flag} out",
                names(&self.asked.backend)
            ))),
        }
    }
}

/// Name of the experiment, and the backends that it can measure.
pub(super) fn measured(experiment: &Experiment) -> (&'static str, &'static [Backend]) {
    let with_workers: &[Backend] = &[Backend::Threads, Backend::ThreadsGil, Backend::Processes];
    match experiment {
        Experiment::Latency(_) => ("latency", Backend::ALL),
        Experiment::Bandwidth(_) => ("bandwidth", Backend::ALL),
        Experiment::Throughput(_) => ("throughput", Backend::ALL),
        Experiment::Isolation(_) => ("isolation", &[Backend::Threads, Backend::Processes]),
        Experiment::Startup(_) => ("startup", with_workers),
        Experiment::Scaling(_) => ("scaling", Backend::ALL),
        Experiment::BreakEven(_) => ("break-even", Backend::ALL),
        Experiment::Paradigms(_) => ("paradigms", Backend::ALL),
        Experiment::All(_) => ("all", Backend::ALL),
    }
}

fn distinct<T: Copy + PartialEq>(all: &[T]) -> Vec<T> {
    let mut distinct = Vec::new();
    for &one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}
