//! Lower bounds set by the machine: no transport of bytes between workers can be faster.

use std::hint;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Time in microseconds of one copy of `from` to `to`. The caller touches both buffers before, so
/// that the copy causes no page faults.
pub fn memcpy_us(from: &[u8], to: &mut [u8]) -> f64 {
    let begin = Instant::now();
    to.copy_from_slice(from);
    hint::black_box(to);
    begin.elapsed().as_secs_f64() * 1e6
}

/// A counter on a cache line of its own.
#[repr(align(128))]
struct PaddedCounter(AtomicU64);

/// Time in microseconds of a round trip between two threads that spin on shared memory, averaged
/// over `rounds`.
pub fn spin_ping_pong_us(rounds: u64) -> f64 {
    let (ping, pong) = (PaddedCounter(AtomicU64::new(0)), PaddedCounter(AtomicU64::new(0)));
    let wait = |line: &PaddedCounter, value: u64| {
        let mut looks = 0_u32;
        while line.0.load(Ordering::Acquire) != value {
            looks += 1;
            // On a single core the other thread would otherwise not get to run.
            if looks.is_multiple_of(10_000) {
                thread::yield_now();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=rounds {
                wait(&ping, round);
                pong.0.store(round, Ordering::Release);
            }
        });
        let begin = Instant::now();
        for round in 1..=rounds {
            ping.0.store(round, Ordering::Release);
            wait(&pong, round);
        }
        begin.elapsed().as_secs_f64() * 1e6 / rounds as f64
    })
}

/// Time in microseconds of a round trip of one byte between two threads over a Unix socket,
/// averaged over `rounds`.
///
/// # Errors
/// When no socket can be created.
pub fn socket_ping_pong_us(rounds: u64) -> io::Result<f64> {
    let (mut near, mut far) = UnixStream::pair()?;
    let other = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        for _ in 0..rounds {
            far.read_exact(&mut byte)?;
            far.write_all(&byte)?;
        }
        Ok(())
    });
    let mut byte = [7];
    let begin = Instant::now();
    for _ in 0..rounds {
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
    }
    let us = begin.elapsed().as_secs_f64() * 1e6 / rounds as f64;
    other.join().map_err(|_| io::Error::other("the other thread has panicked"))??;
    Ok(us)
}

/// Time in microseconds to start `count` processes of an empty program, one after another, and to
/// wait for each.
///
/// # Errors
/// When `true` exists neither in its usual directories nor in the search path.
pub fn empty_program_us(count: usize) -> io::Result<f64> {
    // The program is given by its path: searching ten directories would add a tenth to the time and
    // overstate the lower bound.
    let usual = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| Path::new(path).exists());
    let program = usual.unwrap_or("true");
    let begin = Instant::now();
    for _ in 0..count {
        Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_floor_is_a_time() {
        let floors = [
            memcpy_us(&[1; 1000], &mut [0; 1000]),
            spin_ping_pong_us(100),
            socket_ping_pong_us(10).unwrap(),
            empty_program_us(1).unwrap(),
        ];
        assert!(floors.iter().all(|us| us.is_finite() && *us > 0.0), "{floors:?}");
    }
}
