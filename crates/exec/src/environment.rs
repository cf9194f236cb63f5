//! The environment of worker processes.
//!
//! The coordinator's environment may hold secrets: keys, tokens, passwords. A worker reads
//! untrusted input, and a sandboxed worker must learn nothing else. So a worker starts with only
//! the variables that it needs to run and those that the caller names.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

/// Variables that a program needs to start, and to find other programs as the coordinator does.
const NEEDED: &[&str] = &[
    // A wrapper around the worker program (`--worker-program`) starts other programs by name.
    "PATH",
    "LANG",
    "TMPDIR",
    // The dynamic loader and the C library, on Linux and macOS.
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    // The Rust runtime.
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
    // Where a coverage build writes its profile, and the settings of the sanitizers.
    "LLVM_PROFILE_FILE",
    "ASAN_OPTIONS",
    "ASAN_SYMBOLIZER_PATH",
    "LSAN_OPTIONS",
    "MSAN_OPTIONS",
    "TSAN_OPTIONS",
    "UBSAN_OPTIONS",
];

/// Prefixes of needed variables: Brigade's own settings, the locale, the C library's allocator.
const NEEDED_FAMILIES: &[&str] = &["BRIGADE_", "LC_", "MALLOC_"];

/// Prefixes of variables that Brigade sets in a process that it starts. `--env` may not set these.
const OWN: &[&str] = &["BRIGADE_WORKER_", "BRIGADE_TEMPLATE"];

/// Variables for worker processes, besides those that they need to run: `PATH`, `LANG`, `LC_*`,
/// `TMPDIR`, `BRIGADE_*`, and what the loader, the C library, the Rust runtime and the sanitizers
/// read. A worker has nothing else of the coordinator's environment in its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `None`: the value that the coordinator has when the worker starts, if it has one.
    variables: BTreeMap<OsString, Option<OsString>>,
}

impl Environment {
    /// Passes a variable on to workers, with the value that the coordinator has when a worker
    /// starts. Replaces an earlier [`Environment::set`] of the same name.
    /// [`PoolConfig::check`](crate::PoolConfig::check) reports names that are not allowed.
    pub fn pass(&mut self, name: impl Into<OsString>) {
        self.variables.insert(name.into(), None);
    }

    /// Sets a variable in workers. Replaces an earlier [`Environment::pass`] of the same name, and
    /// the coordinator's value. [`PoolConfig::check`](crate::PoolConfig::check) reports names and
    /// values that are not allowed.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.variables.insert(name.into(), Some(value.into()));
    }

    /// The first variable that is not allowed, and why: its name or value is impossible, or the
    /// name is Brigade's own.
    pub(crate) fn refused(&self) -> Option<(&OsStr, &'static str)> {
        self.variables.iter().find_map(|(name, value)| {
            let (bytes, value) = (name.as_encoded_bytes(), value.as_deref().unwrap_or_default());
            let why = if bytes.is_empty() || bytes.contains(&b'=') {
                "it is no name of a variable"
            } else if bytes.contains(&0) || value.as_encoded_bytes().contains(&0) {
                "a variable has no zero bytes"
            } else if begins_with(bytes, OWN) {
                "Brigade sets it itself"
            } else {
                return None;
            };
            Some((name.as_os_str(), why))
        })
    }

    /// The environment of a worker that starts now. If a name occurs twice, the last value counts.
    pub(crate) fn of_worker(&self) -> Vec<(OsString, OsString)> {
        let is_needed = |name: &OsStr| {
            let bytes = name.as_encoded_bytes();
            NEEDED.iter().any(|needed| needed.as_bytes() == bytes)
                || begins_with(bytes, NEEDED_FAMILIES)
        };
        let passed = |name: &OsStr| matches!(self.variables.get(name), Some(None));
        let own = env::vars_os().filter(|(name, _)| is_needed(name) || passed(name));
        let set = self
            .variables
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| (name.clone(), value.clone())));
        // Variables that were set come last, so they win.
        own.chain(set).collect()
    }
}

fn begins_with(name: &[u8], families: &[&str]) -> bool {
    families.iter().any(|family| name.starts_with(family.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_on_but_what_is_needed_and_what_is_named() {
        // Cargo sets this variable for the test. No worker needs it.
        let name = "CARGO_PKG_NAME";
        let value = |environment: &Environment, name: &str| {
            let found = environment.of_worker().into_iter().rfind(|(found, _)| found == name);
            found.map(|(_, value)| value.into_string().unwrap())
        };
        let mut environment = Environment::default();
        assert_eq!(value(&environment, name), None);
        assert_eq!(value(&environment, "PATH"), env::var("PATH").ok());
        environment.pass(name);
        assert_eq!(value(&environment, name), env::var(name).ok());
        environment.set(name, "mine");
        environment.set("PATH", "/nowhere");
        environment.pass("NO_SUCH_VARIABLE");
        assert_eq!(value(&environment, name).unwrap(), "mine");
        assert_eq!(value(&environment, "PATH").unwrap(), "/nowhere");
        assert_eq!(value(&environment, "NO_SUCH_VARIABLE"), None);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "A=B", "A\0", "BRIGADE_WORKER_SERVER", "BRIGADE_TEMPLATE"] {
            let mut environment = Environment::default();
            environment.pass("HOME");
            assert_eq!(environment.refused(), None);
            environment.pass(name);
            assert_eq!(environment.refused().unwrap().0, name);
        }
    }
}
