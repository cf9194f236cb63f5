//! What the machine itself takes: nothing that hands over bytes can be faster.

use std::hint;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Microseconds to copy `bytes` bytes from one buffer that was touched to another,
/// once.
pub fn memcpy_us(from: &[u8], to: &mut [u8]) -> f64 {
    let begin = Instant::now();
    to.copy_from_slice(from);
    hint::black_box(to);
    begin.elapsed().as_secs_f64() * 1e6
}

/// On a cache line of its own.
#[repr(align(128))]
struct Line(AtomicU64);

/// Microseconds of a round trip between two threads that spin on shared memory,
/// averaged over `rounds`.
pub fn spin_ping_pong_us(rounds: u64) -> f64 {
    let (ping, pong) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let wait = |line: &Line, value: u64| {
        let mut looks = 0_u32;
        while line.0.load(Ordering::Acquire) != value {
            looks += 1;
            // On one core the other one would never come to its turn.
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

/// Microseconds of a round trip of one byte between two threads over a Unix socket,
/// averaged over `rounds`.
///
/// # Errors
/// When no socket can be made.
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

/// Microseconds to start `count` processes of an empty program, one after another,
/// and to wait for each.
///
/// # Errors
/// When there is no `true`, neither where it usually is nor in the search path.
pub fn empty_program_us(count: usize) -> io::Result<f64> {
    // By its path: a search in ten directories would cost a tenth more, and make the floor high.
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
