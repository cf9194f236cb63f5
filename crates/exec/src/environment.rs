//! What worker processes have in their environment.
//!
//! The coordinator's may hold secrets: keys, tokens, passwords. A worker reads what others have
//! written, and with a sandbox it is to learn nothing beside that; so it starts with nothing of it
//! but what it needs to run, and what it is given by name.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

/// What a program needs to start and to find others, in the same way as the coordinator.
const NEEDED: &[&str] = &[
    // Wrappers around the worker program (`--worker-program`) start others by name.
    "PATH",
    "LANG",
    "TMPDIR",
    // The dynamic loader and the C library, here and on macOS.
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    // Rust's runtime.
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
    // Where a build that measures coverage writes it to, and the sanitizers' settings.
    "LLVM_PROFILE_FILE",
    "ASAN_OPTIONS",
    "ASAN_SYMBOLIZER_PATH",
    "LSAN_OPTIONS",
    "MSAN_OPTIONS",
    "TSAN_OPTIONS",
    "UBSAN_OPTIONS",
];

/// Brigade's own settings, the parts of the locale, the C library's allocator.
const NEEDED_FAMILIES: &[&str] = &["BRIGADE_", "LC_", "MALLOC_"];

/// What Brigade itself tells a process that it starts. `--env` may not set these.
const OWN: &[&str] = &["BRIGADE_WORKER_", "BRIGADE_TEMPLATE"];

/// Variables that worker processes have beside what they need to run (`PATH`, `LANG`, `LC_*`,
/// `TMPDIR`, `BRIGADE_*`, what the loader, the runtime and sanitizers read): nothing else of the
/// coordinator's environment is in their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `None`: the coordinator's own value, if it has one when the worker starts.
    variables: BTreeMap<OsString, Option<OsString>>,
}

impl Environment {
    /// Lets the coordinator's value of a variable through.
    pub fn pass(&mut self, name: impl Into<OsString>) {
        self.variables.insert(name.into(), None);
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.variables.insert(name.into(), Some(value.into()));
    }

    /// A name that no variable can have, or that is Brigade's own.
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

    /// The variables of a worker that starts now.
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
        // What is set comes later, and wins.
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
        // Cargo has set it for this test; no worker needs it.
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
