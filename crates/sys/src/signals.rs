//! Ignored signals, and the default effect of a stop signal.

use rustix::process::Resource;

use crate::limits;

/// Whether this process ignores a signal. A signal that was ignored from the start should stay
/// ignored: `nohup` ignores SIGHUP, and a shell without job control ignores signals for the
/// programs that it starts in the background.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, as the second argument is null; the kernel writes to `action`,
    // which is live and of the right type.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroes are a valid `sigaction`, and the call has written another or nothing.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Makes a write beyond `ulimit -f` fail with an error (`EFBIG`), instead of ending this process
/// with SIGXFSZ. Changes nothing if a handler for that signal is installed, or if there is no
/// limit.
pub fn let_large_files_fail() {
    let limit = limits::get(Resource::Fsize).ok();
    if limit.is_some_and(|limit| limit.current.or(limit.maximum).is_some()) {
        ignore_unless_handled(libc::SIGXFSZ);
    }
}

fn ignore_unless_handled(signal: i32) {
    // SAFETY: ignoring a signal runs no code of ours; a handler that was there is put back.
    unsafe {
        let before = libc::signal(signal, libc::SIG_IGN);
        if before != libc::SIG_DFL && before != libc::SIG_ERR {
            libc::signal(signal, before);
        }
    }
}

/// Does what a stop signal (SIGTSTP) does to a process that does not handle it: stops this process
/// until another process continues it. In an orphaned process group, where no process could
/// continue it, nothing happens. Restores the previous action of the signal afterwards.
pub fn stop_by(signal: i32) {
    let mut before = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroes are a valid action: the default one, with no flags and no mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both actions are live and of the right type; `before` is written before it is read,
    // as its write is checked. The default action runs no code.
    unsafe {
        if libc::sigaction(signal, &raw const default, before.as_mut_ptr()) == 0 {
            libc::raise(signal);
            libc::sigaction(signal, before.as_ptr(), std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_seen() {
        assert!(!is_ignored(libc::SIGUSR2));
        ignore_unless_handled(libc::SIGXFSZ);
        assert!(is_ignored(libc::SIGXFSZ));
        assert!(!is_ignored(-1));
    }
}
