//! SIGINT, SIGTERM and SIGHUP: the first signal lets running jobs finish, the second kills them,
//! the third ends this process. SIGTSTP (Ctrl-Z): the workers stop together with this process.
//!
//! A signal that was ignored when this process started stays ignored (`nohup`, `trap '' INT`, `&`
//! in a script). SIGQUIT ends this process at once, and its workers with it, as for any program. A
//! pipe without a reader is an error of the write (Rust ignores SIGPIPE).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;

use brigade_exec::{Pool, Stop};
use brigade_sys::shortage;
use brigade_sys::signals::{is_ignored, stop_by};
use crossbeam_channel::{Receiver, Sender};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use crate::console;
use crate::exit::{Exit, Failure};

/// The signals that end a run.
const ENDS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether a signal has asked the run to end.
pub(crate) struct Interrupt {
    signal: AtomicI32,
    bell: Receiver<()>,
}

impl Interrupt {
    /// The first signal that was received, if any.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Acquire)).filter(|&signal| signal != 0)
    }

    /// Gets one message, after the first signal.
    pub(crate) fn bell(&self) -> &Receiver<()> {
        &self.bell
    }
}

pub(crate) fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGHUP => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// Calls `run`. Signals that are received meanwhile stop `pool`.
///
/// # Errors
/// When signals cannot be watched.
pub(crate) fn watch<T>(pool: &Pool, run: impl FnOnce(&Interrupt) -> T) -> io::Result<T> {
    let wanted = ENDS.into_iter().chain([SIGTSTP]).filter(|&signal| !is_ignored(signal));
    let mut signals = Signals::new(wanted)?;
    // Ends the signal thread, also when `run` panics.
    let _watching = Watching(signals.handle());
    let (ring, bell) = crossbeam_channel::bounded(1);
    let interrupt = Interrupt { signal: AtomicI32::new(0), bell };
    thread::scope(|scope| {
        let _ends_before_scope = Watching(signals.handle());
        thread::Builder::new().name("signals".to_owned()).spawn_scoped(scope, || {
            let mut count = 0;
            for signal in signals.forever() {
                if signal == SIGTSTP {
                    suspend(pool);
                } else {
                    handle(pool, &interrupt, &ring, count, signal);
                    count += 1;
                }
            }
        })?;
        Ok(run(&interrupt))
    })
}

/// Stops the workers, then this process. Resumes the workers when this process is resumed.
fn suspend(pool: &Pool) {
    pool.pause();
    // Returns when this process is resumed.
    stop_by(SIGTSTP);
    pool.resume();
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
            // Full only if a message is already there.
            let _ = ring.try_send(());
        }
        1 => {
            console::say(format_args!("{}: killing running jobs", name(signal)));
            pool.stop(Stop::Kill);
        }
        // There is no other way to end a kernel inside this process that never checks for a stop.
        _ => drop(emulate_default_handler(signal)),
    }
}

struct Watching(Handle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Set by the first SIGINT, SIGTERM or SIGHUP; the second ends this process. For commands that have
/// no pool to stop.
#[derive(Clone)]
pub(crate) struct Flag {
    /// The signal, or 0.
    signal: Arc<AtomicUsize>,
}

impl Flag {
    /// Starts to watch for signals.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let signal = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(AtomicBool::new(false));
        for number in ENDS.into_iter().filter(|&signal| !is_ignored(signal)) {
            // In this order: only the second signal finds `seen` set.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&seen))
                .and_then(|_| signal_hook::flag::register(number, Arc::clone(&seen)))
                .and_then(|_| {
                    let value = number as usize;
                    signal_hook::flag::register_usize(number, Arc::clone(&signal), value)
                })
                .map_err(|error| {
                    Failure::usage({
                        let remedy = shortage::remedy(&error);
                        format!("cannot watch for signals: {error}{remedy}")
                    })
                })?;
        }
        Ok(Self { signal })
    }

    /// Whether a signal has been received.
    pub(crate) fn is_set(&self) -> bool {
        self.exit().is_some()
    }

    /// The program's exit code, if a signal has been received.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.signal.load(Ordering::Acquire) {
            0 => None,
            signal => Some(Exit::Interrupted(signal as i32)),
        }
    }
}
