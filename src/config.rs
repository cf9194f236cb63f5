//! Turns the arguments of the pool into its configuration.

use std::time::Duration;

use brigade_exec::{Backend, PoolConfig};
use brigade_report::units;

use crate::args::{GuardArgs, PoolArgs, Variable};
use crate::exit::Failure;

/// The pool that the arguments ask for. Refuses an option that the backend does not use: silence
/// would let the user believe that it had an effect.
pub(crate) fn pool(args: &PoolArgs) -> Result<PoolConfig, Failure> {
    let mut config = PoolConfig {
        // The commands read jobs as earlier ones end: a longer queue would only use memory.
        queue: 1024,
        timeout: args.worker.timeout,
        pin: args.worker.pin,
        ..PoolConfig::default()
    };
    config.backend = args.backend.unwrap_or(config.backend);
    config.workers = args.workers.unwrap_or(config.workers);
    let own = &args.processes;
    if config.backend.is_in_process() {
        refuse_process_options(args, config.backend)?;
    }
    if matches!(config.backend, Backend::Sync | Backend::Async)
        && args.workers.is_some_and(|workers| workers != 1)
    {
        return Err(Failure::usage(format!(
            "--workers {} does not go with --backend {}, which has one worker; use --backend \
             threads or processes",
            config.workers, config.backend
        )));
    }
    if config.backend == Backend::Sync && args.worker.pin {
        return Err(Failure::usage(
            "--pin does not go with --backend sync, which runs jobs on the main thread; `taskset` \
             binds the whole program",
        ));
    }
    config.transport = own.transport.unwrap_or(config.transport);
    config.start_method = own.start_method.unwrap_or(config.start_method);
    config.depth = own.depth.unwrap_or(config.depth);
    guards(&own.guards, &mut config)?;
    config.check()?;
    Ok(config)
}

/// Sets the options for how worker processes are watched, limited and replaced.
pub(crate) fn guards(own: &GuardArgs, config: &mut PoolConfig) -> Result<(), Failure> {
    config.arena_limit = own.arena_limit;
    config.spin = own.spin;
    config.retries = own.retries.unwrap_or(config.retries);
    config.max_restarts = own.max_restarts.unwrap_or(config.max_restarts);
    config.heartbeat = own.heartbeat.unwrap_or(config.heartbeat);
    config.max_jobs_per_worker = own.max_jobs_per_worker;
    config.memory_limit = own.memory_limit;
    config.cpu_limit = own.cpu_limit;
    config.sandbox = own.sandbox;
    config.start_deadline = own.start_timeout.unwrap_or(config.start_deadline);
    for variable in &own.env {
        match &variable.value {
            Some(value) => config.environment.set(&variable.name, value),
            None if std::env::var_os(&variable.name).is_some() => {
                config.environment.pass(&variable.name);
            }
            // Most likely a mistyped name, which the workers would miss silently.
            None => {
                let name = variable.name.display();
                return Err(Failure::usage(format!(
                    "--env {name}: there is no such variable here; --env {name}=VALUE sets it"
                )));
            }
        }
    }
    if let Some(program) = &own.worker_program {
        let found = std::fs::metadata(program).and_then(|_| std::path::absolute(program));
        // Make it absolute: a bare name would be searched in PATH.
        config.worker_program = Some(found.map_err(|error| {
            let program = program.display();
            Failure::usage(format!("cannot use --worker-program {program}: {error}"))
        })?);
    }
    Ok(())
}

/// The options of [`guards`] that were given, each with its value in human-readable form.
pub(crate) fn given(own: &GuardArgs) -> Vec<(&'static str, String)> {
    let size = |bytes: u64| units::bytes(bytes).replace(' ', "");
    let time = |time: Duration| humantime::format_duration(time).to_string().replace(' ', "");
    let text = |number: u64| number.to_string();
    [
        ("--arena-limit", own.arena_limit.map(size)),
        ("--spin", own.spin.map(time)),
        ("--retries", own.retries.map(|retries| text(retries.into()))),
        ("--max-restarts", own.max_restarts.map(|restarts| text(restarts.into()))),
        ("--heartbeat", own.heartbeat.map(time)),
        ("--max-jobs-per-worker", own.max_jobs_per_worker.map(text)),
        ("--memory-limit", own.memory_limit.map(size)),
        ("--cpu-limit", own.cpu_limit.map(time)),
        ("--sandbox", own.sandbox.map(|sandbox| sandbox.name().to_owned())),
        ("--start-timeout", own.start_timeout.map(time)),
        ("--worker-program", own.worker_program.as_ref().map(|path| path.display().to_string())),
        ("--env", (!own.env.is_empty()).then(|| names(&own.env))),
    ]
    .into_iter()
    .filter_map(|(flag, value)| Some((flag, value?)))
    .collect()
}

/// The names of the variables without their values, which may be secrets.
fn names(variables: &[Variable]) -> String {
    let names = variables.iter().map(|variable| variable.name.display().to_string());
    names.collect::<Vec<_>>().join(",")
}

fn refuse_process_options(args: &PoolArgs, backend: Backend) -> Result<(), Failure> {
    let own = &args.processes;
    let mut given: Vec<&str> = [
        ("--transport", own.transport.is_some()),
        ("--start-method", own.start_method.is_some()),
        ("--depth", own.depth.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect();
    given.extend(self::given(&own.guards).into_iter().map(|(flag, _)| flag));
    match given.first() {
        None => Ok(()),
        Some(flag) => Err(Failure::usage(format!(
            "{flag} does not go with --backend {backend}, which has no worker processes; use \
             --backend processes or leave {flag} out"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use brigade_exec::{Environment, Sandbox};
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn resolve(options: &str) -> Result<PoolConfig, String> {
        let words = ["brigade", "run", "noop"].into_iter().chain(options.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Run(run) = cli.command else { panic!("not a run") };
        pool(&run.pool).map_err(|failure| failure.message)
    }

    #[test]
    fn what_is_given_is_set_and_the_rest_is_the_default() {
        let config = resolve("-b processes -w 3 --depth 4 --timeout 1500ms --retries 0").unwrap();
        let default = PoolConfig::default();
        assert_eq!((config.workers, config.depth, config.retries), (3, 4, 0));
        assert_eq!(config.timeout.unwrap().as_millis(), 1500);
        assert_eq!(config.max_restarts, default.max_restarts);
        assert_eq!(config.transport, default.transport);
    }

    #[test]
    fn a_sandbox_is_strict_unless_it_is_said_otherwise() {
        let sandbox = |options| resolve(options).unwrap().sandbox;
        assert_eq!(sandbox(""), None);
        assert_eq!(sandbox("--sandbox"), Some(Sandbox::Strict));
        assert_eq!(sandbox("--sandbox=best-effort"), Some(Sandbox::BestEffort));
        // The next word is an argument of its own.
        assert_eq!(sandbox("--sandbox best-effort"), Some(Sandbox::Strict));
        assert!(resolve("--sandbox=none").unwrap_err().contains("best-effort"));
    }

    #[test]
    fn variables_are_let_through_or_set() {
        let config = resolve("--env PATH --env A=b=c --env EMPTY=").unwrap();
        let mut expected = Environment::default();
        expected.pass("PATH");
        expected.set("A", "b=c");
        expected.set("EMPTY", "");
        assert_eq!(config.environment, expected);
    }

    #[test]
    fn options_without_effect_are_refused_by_name() {
        for (options, flag) in [
            ("-b threads --transport shm", "--transport"),
            ("-b sync --depth 2", "--depth"),
            ("-b async --retries 1", "--retries"),
            ("-b threads-gil --max-jobs-per-worker 1", "--max-jobs-per-worker"),
            ("-b threads --memory-limit 1GiB", "--memory-limit"),
            ("-b async --cpu-limit 1s", "--cpu-limit"),
            ("-b threads --env PATH", "--env"),
            ("--env NO_SUCH_VARIABLE", "--env"),
            ("--env =value", "--env"),
            ("--env BRIGADE_TEMPLATE=1", "--env"),
            ("-b sync --sandbox", "--sandbox"),
            ("-b sync -w 2", "--workers"),
            ("-b sync --pin", "--pin"),
            ("--worker-program /no/such", "--worker-program"),
        ] {
            let error = resolve(options).unwrap_err();
            assert!(error.contains(flag), "{options}: {error}");
        }
        assert!(resolve("-b sync -w 1").is_ok());
    }

    #[test]
    fn a_wrong_name_lists_the_right_ones() {
        let error = resolve("-b process").unwrap_err();
        assert!(error.contains("processes") && error.contains("threads-gil"), "{error}");
    }
}
