//! How a run ends or pauses from outside: signals while an input blocks, hang-ups, stops, and what
//! the system allows.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, Mode};
use serde_json::Value;

use crate::skip::skip;
use crate::util::{BACKENDS, Done, TestDir, finish, next_line, signal, wait_until};

const PROCESSES: [&str; 3] =
    ["processes", "processes --transport shm", "processes --start-method forkserver"];

fn fifo(dir: &TestDir) {
    rustix::fs::mkfifoat(CWD, dir.path("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
}

/// What `/proc` says of a process: its name, and the letter of its state.
fn state(pid: u32) -> Option<(String, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.rsplit_once(") ")?;
    Some((name.split_once('(')?.1.to_owned(), rest.chars().next()?))
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a process has a file open.
fn has_open(pid: u32, file: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|open| open == file)
}

#[test]
fn one_signal_ends_a_run_that_waits_for_a_pipe_without_a_writer() {
    let dir = TestDir::new();
    fifo(&dir);
    dir.write("x", "x");
    let file = dir.path("fifo");
    let ends = [("TERM", 143), ("INT", 130), ("HUP", 129)];
    for (index, backend) in BACKENDS.iter().chain(&PROCESSES[1..]).enumerate() {
        let line = format!("run touch fifo x --keep-going --format json -b {backend}");
        let (name, code) = ends[index % ends.len()];
        let child = dir.command(&line).spawn().unwrap();
        wait_until("it has the pipe open", || has_open(child.id(), &file));
        signal(child.id(), name);
        let done = finish(child).expect(code).says(name).json();
        let waited = done["jobs"].as_array().unwrap().iter().find(|job| job["input"] == "fifo");
        assert_eq!(waited.unwrap()["status"], "cancelled", "{backend}: {done}");
    }
}

#[test]
fn the_time_limit_counts_for_reading_too() {
    let dir = TestDir::new();
    fifo(&dir);
    dir.write("x", "x");
    let check = &|backend: &str| {
        let line = "run touch fifo x --timeout 2s --keep-going --format json -b";
        let done = dir.run(&format!("{line} {backend}")).expect(1);
        let jobs = done.json()["jobs"].as_array().unwrap().clone();
        let job = |input: &str| jobs.iter().find(|job| job["input"] == input).unwrap();
        assert_eq!(job("x")["status"], "ok", "{backend}");
        assert_eq!(job("fifo")["status"], "timed-out", "{backend}");
        let error = job("fifo")["error"].as_str().unwrap();
        assert!(error.contains("while reading fifo; --timeout"), "{error}");
    };
    // Beside each other, as they wait.
    std::thread::scope(|scope| {
        for backend in BACKENDS.iter().chain(&PROCESSES[1..]) {
            scope.spawn(move || check(backend));
        }
    });
}

#[test]
fn pipes_with_a_writer_are_read_whole() {
    let dir = TestDir::new();
    fifo(&dir);
    let bytes = vec![7; 300_000];
    dir.write("file", &bytes);
    let expected = dir.run("run touch file --format json").expect(0).json()["jobs"][0].clone();
    for backend in BACKENDS {
        let line = format!("run touch fifo --format json -b {backend}");
        let child = dir.command(&line).spawn().unwrap();
        wait_until("it waits for a writer", || has_open(child.id(), &dir.path("fifo")));
        // It does not wait for a reader: there is one.
        fs::File::options().write(true).open(dir.path("fifo")).unwrap().write_all(&bytes).unwrap();
        let job = finish(child).expect(0).json()["jobs"][0].clone();
        assert_eq!(job["digest"], expected["digest"], "{backend}");
        let input = String::from_utf8(bytes.clone()).unwrap();
        let line = format!("run touch /dev/stdin --format json -b {backend}");
        let job = dir.feed(&line, &input).expect(0).json()["jobs"][0].clone();
        assert_eq!(job["digest"], expected["digest"], "{backend}");
    }
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let script = format!("{brigade} run touch <(cat file) --format json");
    let child = dir.program("bash").args(["-c", &script]).spawn();
    let job = finish(child.unwrap()).expect(0).json()["jobs"][0].clone();
    assert_eq!(job["digest"], expected["digest"]);
}

/// Starts a batch through a shell that has done something to signals before.
fn batch_after(dir: &TestDir, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let mut command = dir.shell(&format!("{script}; exec {brigade} batch - -w 1"));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    child.stdin.as_mut().unwrap().write_all(b"{\"kernel\":\"noop\"}\n").unwrap();
    // From here on signals are watched.
    assert!(next_line(&mut stdout).contains("\"ok\""));
    (child, stdout)
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let dir = TestDir::new();
    for (ignored, code) in [("INT", 130), ("HUP", 129), ("TERM", 143)] {
        let (mut child, mut stdout) = batch_after(&dir, &format!("trap '' {ignored}"));
        signal(child.id(), ignored);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"{\"kernel\":\"noop\"}\n").unwrap();
        assert!(next_line(&mut stdout).contains("\"ok\""), "{ignored} is ignored");
        drop(stdin);
        finish(child).expect(0);
        // The same without the trap.
        let (mut child, _stdout) = batch_after(&dir, ":");
        // Open until it has ended: the end of its input would end it as well.
        let stdin = child.stdin.take();
        signal(child.id(), ignored);
        finish(child).expect(code).says(&format!("SIG{ignored}"));
        drop(stdin);
    }
}

/// A run of one job that waits for so long, which has begun; and what it says later.
fn waiting(dir: &TestDir, ms: u64, flags: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let line = format!("run wait -p us={ms}000 -w 1 --format json --log trace {flags}");
    // A group of its own, whose parent is in another: SIGTSTP does nothing to an orphaned group, and
    // that of these tests is one when they are started by `setsid`.
    let mut child = dir.command(&line).process_group(0).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_until("the kernel is called", || {
        let line = next_line(&mut stderr);
        assert!(!line.is_empty(), "it has ended");
        line.contains("kernel called")
    });
    (child, stderr)
}

/// Its only job, when it has ended.
fn job(child: Child, mut stderr: BufReader<std::process::ChildStderr>) -> Value {
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    });
    let Done { code, stdout, .. } = finish(child);
    let said = said.join().unwrap();
    let document: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{code:?} {said}"));
    document["jobs"][0].clone()
}

/// Longer than the time limit, which is longer than the job takes.
const STOPPED: Duration = Duration::from_millis(4500);

#[test]
fn time_in_which_all_was_stopped_counts_for_no_job() {
    let dir = TestDir::new();
    // Beside each other: most of the time they are stopped.
    std::thread::scope(|scope| {
        for backend in PROCESSES.iter().chain(&["threads", "async", "sync"]) {
            let dir = &dir;
            scope.spawn(move || {
                let heartbeat = if PROCESSES.contains(backend) { "--heartbeat 2s" } else { "" };
                let flags = format!("--timeout 3s {heartbeat} -b {backend}");
                let (child, stderr) = waiting(dir, 1500, &flags);
                let all = [vec![child.id()], children(child.id())].concat();
                all.iter().for_each(|&pid| signal(pid, "STOP"));
                std::thread::sleep(STOPPED);
                all.iter().for_each(|&pid| signal(pid, "CONT"));
                let job = job(child, stderr);
                assert_eq!(job["status"], "ok", "{backend}: {job}");
                assert_eq!(job["attempts"], 1, "{backend}: {job}");
                let took = job["total_us"].as_f64().unwrap();
                assert!(took > 3e6, "{backend}: it was stopped too late to show anything: {job}");
            });
        }
    });
}

#[test]
fn a_job_that_takes_too_long_has_timed_out_after_a_stop_too() {
    let dir = TestDir::new();
    std::thread::scope(|scope| {
        for backend in ["processes", "threads"] {
            let dir = &dir;
            scope.spawn(move || {
                let flags = format!("--timeout 2s -b {backend}");
                let (child, stderr) = waiting(dir, 600_000, &flags);
                let all = [vec![child.id()], children(child.id())].concat();
                all.iter().for_each(|&pid| signal(pid, "STOP"));
                std::thread::sleep(Duration::from_secs(3));
                all.iter().for_each(|&pid| signal(pid, "CONT"));
                assert_eq!(job(child, stderr)["status"], "timed-out", "{backend}");
            });
        }
    });
}

#[test]
fn a_stop_from_the_terminal_stops_the_workers_too() {
    let dir = TestDir::new();
    std::thread::scope(|scope| {
        for backend in PROCESSES {
            let dir = &dir;
            scope.spawn(move || stops_and_goes_on(dir, backend));
        }
    });
}

fn stops_and_goes_on(dir: &TestDir, backend: &str) {
    let (child, stderr) = waiting(dir, 1500, &format!("--timeout 3s -b {backend}"));
    // A template waits for orders, and uses nothing.
    let all: Vec<u32> = [vec![child.id()], children(child.id())]
        .concat()
        .into_iter()
        .filter(|&pid| state(pid).is_some_and(|(name, _)| !name.starts_with("brigade-f")))
        .collect();
    assert_eq!(all.len(), 2, "a coordinator and a worker");
    signal(child.id(), "TSTP");
    let are = |what: char| all.iter().all(|&pid| state(pid).is_some_and(|(_, is)| is == what));
    wait_until("all are stopped", || are('T'));
    std::thread::sleep(STOPPED);
    assert!(are('T'), "and stay so");
    signal(child.id(), "CONT");
    let job = job(child, stderr);
    assert_eq!((&job["status"], &job["attempts"]), (&"ok".into(), &1.into()), "{job}");
}

/// Runs `brigade LINE` after a command of a shell.
fn after(dir: &TestDir, script: &str, line: &str) -> Done {
    let brigade = env!("CARGO_BIN_EXE_brigade");
    finish(dir.shell(&format!("{script}; exec {brigade} {line}")).spawn().unwrap())
}

#[test]
fn a_limit_of_file_sizes_is_no_limit_of_shared_memory() {
    let dir = TestDir::new();
    dir.image("a.png", "400x400");
    // Soft: raised for shared memory, and kept for what is written.
    for transport in ["arena", "shm"] {
        let line = format!("run touch a.png -o out-{transport}/ --transport {transport}");
        let done = after(&dir, "ulimit -S -f 8", &line).expect(1);
        assert!(done.stdout.contains("cannot write"), "{done:#?}");
        assert!(done.stdout.contains("File too large"), "{done:#?}");
        after(&dir, "ulimit -S -f 8", &format!("run touch a.png --transport {transport}"))
            .expect(0);
    }
    // While one thread makes memory for a job, another writes the result of one before it.
    let line = "run touch --jobs 300 --size 100KiB -o many/ --transport shm --keep-going";
    let done = after(&dir, "ulimit -S -f 8", line).expect(1);
    assert!(done.stdout.contains("0 of 300 ok"), "{done:#?}");
    assert_eq!(dir.list("many"), [""; 0], "nothing partial, nothing too long");
    // Hard: said, with what to do.
    let done = after(&dir, "ulimit -f 8", "run touch a.png").expect(5);
    assert!(done.stderr.contains("raise ulimit -f, or use --backend threads"), "{done:#?}");
    after(&dir, "ulimit -f 8", "run touch a.png -b threads").expect(0);
}

#[test]
fn a_runtime_directory_that_cannot_be_used_is_no_obstacle() {
    let dir = TestDir::new();
    dir.write("file", "");
    let long = dir.path(&"x".repeat(90));
    fs::create_dir(&long).unwrap();
    let bad = [dir.path("nowhere"), long, dir.path("file"), "/proc".into(), "relative".into()];
    for directory in bad {
        let run = |line: &str| {
            let mut command = dir.command(line);
            command.env("XDG_RUNTIME_DIR", &directory).env("TMPDIR", &directory);
            finish(command.spawn().unwrap())
        };
        for flags in ["", "--start-method forkserver", "--transport inline"] {
            run(&format!("run noop {flags}")).expect(0);
        }
        let doctor = run("doctor --format json").expect(0).json();
        let finding = doctor["findings"].as_array().unwrap().iter();
        let finding = finding.clone().find(|f| f["topic"] == "runtime directory").unwrap();
        assert_eq!(finding["verdict"], "note", "{directory:?}: {finding}");
        let meaning = finding["meaning"].as_str().unwrap();
        assert!(meaning.contains(directory.to_str().unwrap()), "{meaning}");
    }
}

#[test]
fn process_1_reaps_what_it_adopts() {
    let dir = TestDir::new();
    let is_possible = dir.program("unshare").args(["--pid", "--fork", "true"]).status();
    if !is_possible.is_ok_and(|status| status.success()) {
        return skip("namespaces", "no process namespace may be made here");
    }
    let brigade = env!("CARGO_BIN_EXE_brigade");
    // The shell becomes the coordinator, and what it has started is no child that Brigade knows.
    let script = format!("sleep 2 & exec {brigade} batch - -w 1 --allow-fault-kernels");
    let mut unshare = dir
        .program("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script])
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let named = |pids: Vec<u32>, wanted: &str| {
        pids.into_iter().find(|&pid| state(pid).is_some_and(|(name, _)| name == wanted))
    };
    let mut found = None;
    wait_until("the orphan is there", || {
        let coordinator = named(children(unshare.id()), "brigade");
        found = coordinator.and_then(|pid| Some((pid, named(children(pid), "sleep")?)));
        found.is_some()
    });
    let (coordinator, orphan) = found.unwrap();
    wait_until("the orphan is gone, and no zombie", || !children(coordinator).contains(&orphan));
    // Workers are still reaped by who knows them.
    let mut stdin = unshare.stdin.take().unwrap();
    let jobs = "{\"kernel\":\"crash\"}\n{\"kernel\":\"noop\"}\n";
    stdin.write_all(jobs.as_bytes()).unwrap();
    drop(stdin);
    let done = finish(unshare).expect(1);
    let statuses: Vec<String> = done.lines().iter().map(|row| row["status"].to_string()).collect();
    assert!(statuses.contains(&"\"crashed\"".to_owned()), "{done:#?}");
    assert!(statuses.contains(&"\"ok\"".to_owned()), "{done:#?}");
}

/// A control group of this test, removed at the end.
struct LimitedCgroup(PathBuf);

impl LimitedCgroup {
    /// One whose processes may have so many bytes together; `None` where none may be made.
    fn of(bytes: u64) -> Option<Self> {
        let name = format!("brigade-test-{}", std::process::id());
        let kinds = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
        ];
        kinds.iter().find_map(|(root, limit, with_swap)| {
            let path = Path::new(root).join(&name);
            fs::create_dir(&path).ok()?;
            let group = Self(path);
            fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            // If there is no swap there is nothing to forbid.
            let swap = if limit.ends_with("max") { 0 } else { bytes };
            let _ = fs::write(group.0.join(with_swap), swap.to_string());
            Some(group)
        })
    }
}

impl Drop for LimitedCgroup {
    fn drop(&mut self) {
        // Until the last process has left it.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_coordinator_survives_when_its_control_group_runs_out_of_memory() {
    let Some(group) = LimitedCgroup::of(200 << 20) else {
        return skip("cgroup", "no control group with a limit of memory may be made here");
    };
    let dir = TestDir::new();
    let hog = "{\"kernel\":\"hog\",\"params\":{\"mib\":1024}}\n";
    let noop = "{\"kernel\":\"noop\"}\n";
    dir.write("jobs", [noop, hog, noop, hog, noop].concat());
    let script = format!("echo $$ > '{}/cgroup.procs'", group.0.display());
    let line = "batch jobs --ordered --retries 0 --allow-fault-kernels";
    for method in ["spawn", "forkserver"] {
        let done = after(&dir, &script, &format!("{line} --start-method {method}")).expect(1);
        let rows = done.lines();
        let statuses: Vec<&str> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["ok", "crashed", "ok", "crashed", "ok"], "{done:#?}");
        assert!(rows[1]["error"].as_str().unwrap().contains("SIGKILL"), "{done:#?}");
    }
}
