//! More lines than memory, readers that are slow, disks that are full, more workers than there
//! can be.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::util::{TestDir, finish, wait_until};

const LINE: &str = "{\"kernel\":\"noop\"}\n";

/// KiB of memory that a process has for itself.
fn own_memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The lines that a thread of its own has written into a batch's stdin, and that thread.
type Writer = (Arc<AtomicUsize>, std::thread::JoinHandle<()>);

/// Writes so many lines into the stdin of `child` from a thread of its own, and counts them.
fn write_lines(child: &mut Child, count: usize, line: fn(usize) -> String) -> Writer {
    let mut stdin = child.stdin.take().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        for number in 0..count {
            stdin.write_all(line(number).as_bytes()).unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (written, writer)
}

/// Waits until nothing has been written for a while: all between writer and reader is full.
fn wait_until_full(written: &AtomicUsize) {
    let (mut last, mut since) = (0, Instant::now());
    wait_until("the writer waits", || {
        let now = written.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        now > 0 && since.elapsed() > Duration::from_millis(500)
    });
}

/// KiB that a batch of so many lines takes more near its end than after a third of it, without the
/// greatest of the steps between: the heap keeps what queues took at most, so a queue that is
/// fuller than ever before, as happens beside other load, raises it at one look. What is kept of
/// each job raises it from look to look. The queues are filled once before anything is read.
fn growth(dir: &TestDir, flags: &str, count: usize, line: fn(usize) -> String) -> u64 {
    let command = format!("batch - -b threads -w 2 {flags}");
    let mut child = dir.command(&command).stdin(Stdio::piped()).spawn().unwrap();
    let (written, writer) = write_lines(&mut child, count, line);
    wait_until_full(&written);
    let mut looks = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 1..=count {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("\"status\":\"ok\""), "{line}");
        if number >= count / 3 && number % (count / LOOKS) == 0 && number < count {
            looks.push(own_memory(child.id()));
        }
    }
    assert!(lines.next().is_none());
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    let steps = looks.windows(2).map(|look| look[1].saturating_sub(look[0]));
    let greatest = steps.max().expect("it was looked at more than once");
    looks[looks.len() - 1].saturating_sub(looks[0] + greatest)
}

/// Looks at the memory of a batch, if it were looked at from the beginning.
const LOOKS: usize = 15;

/// Jobs of a long batch.
const COUNT: usize = 60_000;

/// KiB by which it may grow: 64 bytes for each job between the two looks. A line, a row, a path or
/// an identity that was kept would take more than a hundred with its place in a list. That the few
/// bytes which are kept are few is shown in `compact.rs`, where nothing else is counted: here it is
/// up to 1.3 MiB, with both cores busy, by which queues happen to be fuller at the second look.
const LITTLE: u64 = 64 * (COUNT as u64 * 2 / 3) / 1024;

#[test]
fn a_long_batch_takes_no_more_memory_than_a_short_one() {
    let dir = TestDir::new();
    let grown = growth(&dir, "", COUNT, |_| LINE.to_owned());
    assert!(grown < LITTLE, "{grown} KiB");
}

#[test]
fn a_long_batch_with_outputs_takes_no_more_memory() {
    let dir = TestDir::new();
    dir.write("x", "x");
    let line = |number| {
        format!("{{\"kernel\":\"touch\",\"inputs\":[\"x\"],\"output\":\"out/{number}.bin\"}}\n")
    };
    fs::create_dir(dir.path("out")).unwrap();
    let grown = growth(&dir, "", COUNT, line);
    assert!(grown < LITTLE, "{grown} KiB");
    assert_eq!(fs::read_dir(dir.path("out")).unwrap().count(), COUNT);
}

#[test]
fn a_long_batch_with_a_journal_takes_a_few_bytes_a_job() {
    let dir = TestDir::new();
    let line = |number| format!("{{\"id\":\"{number}\",\"kernel\":\"noop\"}}\n");
    let grown = growth(&dir, "--journal j", COUNT, line);
    assert!(grown < LITTLE, "{grown} KiB");
}

#[test]
fn a_writer_waits_while_nobody_reads_the_results() {
    const LINES: usize = 100_000;
    let dir = TestDir::new();
    let mut child = dir.command("batch - -b threads -w 2").stdin(Stdio::piped()).spawn().unwrap();
    let (taken, writer) = write_lines(&mut child, LINES, |_| LINE.to_owned());
    wait_until_full(&taken);
    let last = taken.load(Ordering::Relaxed);
    // Two pipes, a window of jobs and a queue of lines.
    assert!(last < 20_000, "{last} of {LINES} lines were taken, and no result was read");
    let results = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(results.map(Result::unwrap).count(), LINES, "nothing is lost");
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_full_disk_is_told_with_the_name_of_the_file() {
    let dir = TestDir::new();
    for line in ["run noop --format json", "kernels", "batch jobs"] {
        dir.write("jobs", LINE);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let child = dir.command(line).stdout(full).spawn().unwrap();
        finish(child).expect(1).says("cannot write standard output");
    }
    dir.run("run noop --output /dev/full").expect(1).says("cannot write /dev/full");
    // A limit on the size of files stands for a disk that is full: only the large result is
    // too much for it.
    dir.image("small.png", "16x16");
    dir.image("large.png", "400x400");
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let run = "run blur large.png small.png -o out --ext npy -b threads --keep-going";
    let child = dir.shell(&format!("trap '' XFSZ; ulimit -f 8; exec {brigade} {run}")).spawn();
    let done = finish(child.unwrap()).expect(1);
    assert!(done.stdout.contains("cannot write out/large.npy: File too large"), "{done:#?}");
    assert_eq!(dir.list("out"), ["small.npy"], "nothing partial");
}

#[test]
fn more_workers_than_there_can_be_are_refused() {
    let dir = TestDir::new();
    dir.run("run noop -w 5000").expect(2).says("--workers sets it");
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let child = dir.shell(&format!("ulimit -n 64; exec {brigade} run noop -w 20")).spawn();
    finish(child.unwrap()).expect(5).says("raise ulimit -n");
    dir.run("run noop --jobs 64 -w 32").expect(0);
}
