//! SIGINT and SIGTERM: the first lets running jobs finish, the second kills them,
//! the third ends this process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;

use brigade_exec::{Pool, Stop};
use crossbeam_channel::{Receiver, Sender};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::console;
use crate::exit::{Exit, Failure};

/// Whether somebody wants the run to end.
pub(crate) struct Interrupt {
    signal: AtomicI32,
    bell: Receiver<()>,
}

impl Interrupt {
    /// The first signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Acquire)).filter(|&signal| signal != 0)
    }

    /// Rings once, when the first signal has come.
    pub(crate) fn bell(&self) -> &Receiver<()> {
        &self.bell
    }
}

/// The signal's name.
pub(crate) fn name(signal: i32) -> &'static str {
    if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
}

/// Calls `run` while signals are turned into stops of `pool`.
///
/// # Errors
/// When signals cannot be watched.
pub(crate) fn watch<T>(pool: &Pool, run: impl FnOnce(&Interrupt) -> T) -> io::Result<T> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // Ends the watching thread, also when `run` panics.
    let _watching = Watching(signals.handle());
    let (ring, bell) = crossbeam_channel::bounded(1);
    let interrupt = Interrupt { signal: AtomicI32::new(0), bell };
    thread::scope(|scope| {
        let _ends_before_scope = Watching(signals.handle());
        thread::Builder::new().name("signals".to_owned()).spawn_scoped(scope, || {
            for (count, signal) in signals.forever().enumerate() {
                handle(pool, &interrupt, &ring, count, signal);
            }
        })?;
        Ok(run(&interrupt))
    })
}

fn handle(pool: &Pool, interrupt: &Interrupt, ring: &Sender<()>, count: usize, signal: i32) {
    match count {
        0 => {
            console::say(format_args!(
                "{}: no new jobs, running ones finish; once more kills them",
                name(signal)
            ));
            interrupt.signal.store(signal, Ordering::Release);
            pool.stop(Stop::Drain);
            // Full only if it rings already.
            let _ = ring.try_send(());
        }
        1 => {
            console::say(format_args!("{}: killing running jobs", name(signal)));
            pool.stop(Stop::Kill);
        }
        // A kernel inside this process that never looks cannot be ended otherwise.
        _ => drop(signal_hook::low_level::emulate_default_handler(signal)),
    }
}

struct Watching(Handle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Set by the first SIGINT or SIGTERM; the second ends this process. For what has no
/// pool to stop.
#[derive(Clone)]
pub(crate) struct Flag {
    /// The signal, or 0.
    signal: Arc<AtomicUsize>,
}

impl Flag {
    /// Watches from now on.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let signal = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM] {
            // In this order: the second finds what the first has set.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&seen))
                .and_then(|_| signal_hook::flag::register(number, Arc::clone(&seen)))
                .and_then(|_| {
                    let value = number as usize;
                    signal_hook::flag::register_usize(number, Arc::clone(&signal), value)
                })
                .map_err(|error| Failure::usage(format!("cannot watch for signals: {error}")))?;
        }
        Ok(Self { signal })
    }

    /// Whether a signal has come.
    pub(crate) fn is_set(&self) -> bool {
        self.exit().is_some()
    }

    /// What the program ends with, if a signal has come.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.signal.load(Ordering::Acquire) {
            0 => None,
            signal => Some(Exit::Interrupted(signal as i32)),
        }
    }
}
