//! Programs that speak to the coordinator and are no good workers: one way to be no good
//! for each line of [`ATTACKS`]. This executable plays them, when a variable tells it to.
//!
//! One worker of two is played; the other one is good, and so is the one that replaces it.
//! Whatever the first does: it is found out in time and for the right reason, the jobs of
//! the others end well, and the coordinator neither panics, nor grows, nor keeps anything.

mod control;
mod handshake;
mod inputs;
mod observer;
mod ring;
mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool, PoolBuilder, PoolError, StartMethod, Transport};
use brigade_ipc::wire::PayloadLocation;
use brigade_proto::{JobError, JobSpec, Notes, Status};

use self::control::{ForgedCarrier, packet, sparse};
use self::stage::HostileWorker;
use crate::apart::Case;
use crate::util::{ResourceSnapshot, Setup, bytes, result, wait_until};

pub(crate) use observer::listen;

const ENV: &str = "BRIGADE_TEST_HOSTILE";
const ANY: &[Transport] = &[Transport::Arena, Transport::Inline, Transport::Shm];
const RINGS: &[Transport] = &[Transport::Arena];
/// How long a worker may take to do what it has to. On a busy machine good ones miss it
/// now and then, are replaced, and no job suffers.
const DEADLINE: Duration = Duration::from_secs(3);

/// What becomes of a way to be no good.
#[derive(Clone, Copy)]
enum ExpectedOutcome {
    /// The pool does not start: this is in the error.
    NoStart(&'static str),
    /// The worker is ended, and this is why. The job that it had in hand, if it had one,
    /// has crashed for the same reason.
    Ended(&'static str),
    /// The job that it had in hand has timed out.
    TimedOut,
    /// Its own job has a wrong result, which nobody can know.
    Own,
    /// It does no harm.
    Harmless,
}

/// What the pool has to do meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum JobMix {
    /// Jobs with inputs and outputs of all sizes.
    Mixed,
    /// Jobs with neither: a worker that is no good can do them well.
    Bare,
    /// The same, many in one request.
    Batches,
    /// The same, with a time limit.
    Timed,
}

struct Attack {
    name: &'static str,
    on: &'static [Transport],
    work: JobMix,
    end: ExpectedOutcome,
    play: fn(),
}

/// A way to be no good once admitted.
macro_rules! inside {
    ($name:literal, $on:expr, $work:ident, $end:expr, $play:expr) => {
        Attack {
            name: $name,
            on: $on,
            work: JobMix::$work,
            end: $end,
            play: || {
                let play: fn(HostileWorker) = $play;
                play(HostileWorker::enter());
            },
        }
    };
}

/// A way to be no good in the handshake.
macro_rules! handshake {
    ($name:literal, $end:expr, $play:expr) => {
        Attack { name: $name, on: RINGS, work: JobMix::Bare, end: $end, play: $play }
    };
}

use ExpectedOutcome::{Ended, Harmless, NoStart, Own, TimedOut};

const ATTACKS: &[Attack] = &[
    handshake!("another version", NoStart("protocol version"), || handshake::says(|h| h
        .version +=
        1)),
    handshake!("another nonce", NoStart("nonce"), || handshake::says(|h| h.nonce += 1)),
    handshake!("another build", NoStart("build"), || handshake::says(|h| h.build.push('x'))),
    handshake!("another process", NoStart("process"), || handshake::says(|h| h.pid += 1)),
    handshake!("other kernels", NoStart("kernels"), || handshake::says(|h| h.kernels.clear())),
    handshake!("never connects", NoStart("not ready after"), || stage::hang()),
    handshake!("connects and hangs", NoStart("not ready after"), handshake::connects_and_hangs),
    handshake!("dies in the handshake", Ended("SIGABRT"), handshake::dies),
    handshake!("greets with garbage", NoStart("greeting"), handshake::garbage),
    handshake!("greets with half a header", NoStart("without a header"), handshake::half_a_header),
    handshake!(
        "greets with a claim of 2^60 bytes",
        NoStart("in pieces"),
        handshake::claims_too_much
    ),
    handshake!("greets at great length", NoStart("too long"), handshake::too_long),
    handshake!("a hello of garbage", NoStart("greeting"), || handshake::hello_of(500)),
    handshake!("a hello of 150 KiB", NoStart("greeting"), || handshake::hello_of(150 << 10)),
    handshake!("greets with a region", NoStart("descriptors"), || handshake::descriptors(&[1, 0])),
    handshake!("greets with a pipe beside it", NoStart("descriptors"), || handshake::descriptors(
        &[0]
    )),
    handshake!("greets with a region that is not there", NoStart("descriptors"), || {
        handshake::descriptors(&[2, 0, 1]);
    }),
    inside!("garbage in its ring", RINGS, Mixed, Ended("out of order"), ring::garbage),
    inside!("scribbles over its endpoint", RINGS, Mixed, Ended("into its ring"), ring::scribbles),
    inside!("cuts off the memory that it shares", RINGS, Bare, Own, ring::cuts_memory_off),
    inside!("its ring goes backwards", RINGS, Bare, Ended("out of order"), ring::backwards),
    inside!("breaks its ring and dies of it", RINGS, Bare, Ended("out of order"), ring::and_dies),
    inside!("its ring jumps ahead", RINGS, Bare, Ended("out of order"), ring::ahead),
    inside!(
        "a message longer than its slot",
        RINGS,
        Bare,
        Ended("longer than its slot"),
        ring::longer_than_its_slot
    ),
    inside!("a short answer", RINGS, Mixed, Ended("too short"), |s| ring::publishes(s, &[1; 5])),
    inside!("an answer that is none", RINGS, Mixed, Ended("is none"), |s| {
        ring::publishes(s, &[9; 80]);
    }),
    inside!("an error that is not UTF-8", RINGS, Mixed, Ended("is none"), |s| {
        // Instants; bincode follows; job 0, an error, of the kernel, two bytes, no outputs.
        let response = [&[0; 32][..], &[0, 0, 1, 0, 2, 0xff, 0xfe, 0]].concat();
        ring::publishes(s, &response);
    }),
    inside!("an error that it cannot know", ANY, Mixed, Ended("cannot know"), |s| {
        ring::error(s, JobError::PoolGaveUp { reason: "so".to_owned() });
    }),
    inside!("answers a job that it was not given", ANY, Bare, Ended("not have"), ring::strange_job),
    inside!("answers twice", ANY, Bare, Ended("not have"), ring::twice),
    inside!("a flood of answers", ANY, Bare, Ended("not have"), ring::flood_of_responses),
    inside!("too many outputs", RINGS, Mixed, Ended("17 outputs"), |s| {
        ring::outputs(s, vec![PayloadLocation::Here(serde_bytes::ByteBuf::new()); 17]);
    }),
    inside!("an output in no region", RINGS, Mixed, Ended("no slab"), |s| {
        ring::outputs(s, vec![PayloadLocation::Slab { region: 7, offset: 0, len: 1, slab: 0 }]);
    }),
    inside!("an output of 2^40 bytes", RINGS, Mixed, Ended("no slab"), |s| {
        let location = PayloadLocation::Slab { region: 0, offset: 64, len: 1 << 40, slab: 0 };
        ring::outputs_in_its_region(s, location);
    }),
    inside!("an output that overflows", RINGS, Mixed, Ended("no slab"), |s| {
        let location = PayloadLocation::Slab { region: 0, offset: u64::MAX - 63, len: 64, slab: 0 };
        ring::outputs_in_its_region(s, location);
    }),
    inside!("an output that is not aligned", RINGS, Mixed, Ended("no slab"), |s| {
        ring::outputs_in_its_region(
            s,
            PayloadLocation::Slab { region: 0, offset: 1, len: 1, slab: 0 },
        );
    }),
    inside!("too few ends for a batch", RINGS, Batches, Ended("with nonsense"), |s| {
        ring::batch(s, |_| vec![0; 7]);
    }),
    inside!("too many ends for a batch", RINGS, Batches, Ended("with nonsense"), |s| {
        ring::batch(s, |count| {
            let others =
                (0..=count).map(|place| (place, Notes::default(), Ok(Vec::new()))).collect();
            ring::with_others(count, &others)
        });
    }),
    inside!("the end of a job that is not in its batch", RINGS, Batches, Ended("nonsense"), |s| {
        ring::batch(s, |count| {
            ring::with_others(count, &vec![(count, Notes::default(), Ok(Vec::new()))])
        });
    }),
    inside!("has no room for any batch", RINGS, Batches, Harmless, ring::runs_no_batch),
    inside!("an end of a job that was not run", RINGS, Batches, Ended("nonsense"), |s| {
        ring::batch(s, |count| ring::none_run(count, &vec![(0, Notes::default(), Ok(Vec::new()))]));
    }),
    inside!("never takes a job", ANY, Mixed, Ended("did not take up a job"), ring::silent),
    inside!("never rings", RINGS, Bare, Ended("did not take up a job"), ring::never_rings),
    inside!("silences the doorbells of all", RINGS, Bare, Harmless, ring::silences_the_bells),
    inside!("impossible instants", ANY, Bare, Harmless, ring::impossible_instants),
    inside!("a call in the future", ANY, Timed, TimedOut, ring::called_in_the_future),
    inside!("a call again and again", ANY, Timed, TimedOut, ring::called_again_and_again),
    inside!("a flood of logs", ANY, Mixed, Ended("did not take up a job"), ring::flood_of_logs),
    inside!("a flood of needs", RINGS, Mixed, Ended("did not take up a job"), ring::flood_of_needs),
    inside!(
        "needs what its transport does not have",
        &[Transport::Inline, Transport::Shm],
        Mixed,
        Ended("no use for"),
        ring::flood_of_needs
    ),
    inside!(
        "closes its channels at work",
        ANY,
        Mixed,
        Ended("closed its channel"),
        ring::closes_its_channels
    ),
    inside!("a packet of garbage", ANY, Mixed, Ended("in a message"), |s| control::sends(
        s,
        &[0xee; 100]
    )),
    inside!("a packet of eight bytes", ANY, Mixed, Ended("without a header"), |s| {
        control::sends(s, &8_usize.to_ne_bytes());
    }),
    inside!("a packet that claims 2^60 bytes", ANY, Mixed, Ended("in pieces"), |s| {
        let claim = [18_usize.to_ne_bytes(), (1_usize << 60).to_ne_bytes()].concat();
        control::sends(s, &[&claim[..], b"xy"].concat());
    }),
    inside!("half a packet", ANY, Mixed, Ended("another length"), |s| {
        control::sends(s, &packet(&[0; 1000])[..500]);
    }),
    inside!("a message of garbage", ANY, Mixed, Ended("cannot decode"), control::nonsense),
    inside!("an error of 140 KB", ANY, Mixed, Ended("cannot decode"), control::long_error),
    inside!("a payload of 2^62 bytes", ANY, Mixed, Ended("payloads of"), |s| {
        control::claims(s, &[ForgedCarrier::Frames { len: 1 << 62 }], None);
    }),
    inside!("16 payloads of 16 GiB", ANY, Mixed, Ended("payloads of"), |s| {
        control::claims(
            s,
            &vec![ForgedCarrier::Region { len: 16 << 30 }; 16],
            Some(sparse(16 << 30)),
        );
    }),
    inside!("17 payloads", ANY, Mixed, Ended("17 payloads"), |s| {
        control::claims(s, &vec![ForgedCarrier::Frames { len: 1 }; 17], None);
    }),
    inside!("a region that is a pipe", ANY, Mixed, Ended("region"), |s| {
        let pipe = std::io::pipe().unwrap().0.into();
        control::claims(s, &[ForgedCarrier::Region { len: 10_000 }], Some(pipe));
    }),
    inside!("a region that is too short", ANY, Mixed, Ended("region"), |s| {
        control::claims(s, &[ForgedCarrier::Region { len: 10_000 }], Some(sparse(4096)));
    }),
    inside!("a region that is not there", ANY, Mixed, Ended("region"), |s| {
        control::claims(s, &[ForgedCarrier::Region { len: 10_000 }], None);
    }),
    inside!("a frame that is too long", ANY, Mixed, Ended("does not fit"), control::long_frame),
    inside!("writes into the inputs of all", RINGS, Mixed, Ended("in a message"), inputs::writes),
    inside!("half a payload", ANY, Timed, TimedOut, control::half_a_payload),
];

/// Plays the part that the variable names, if it does.
pub(crate) fn play() -> Option<ExitCode> {
    let part = std::env::var(ENV).ok()?;
    let attack = ATTACKS.iter().find(|attack| attack.name == part);
    (attack.unwrap_or_else(|| panic!("no part {part}")).play)();
    Some(ExitCode::SUCCESS)
}

/// A trial for each way, on each transport where there is such a way.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    ATTACKS.iter().flat_map(|attack| {
        attack.on.iter().map(move |&transport| {
            let name = format!("hostile-{transport}::{}", attack.name);
            Case::new(name, move || test(attack, transport))
        })
    })
}

/// A worker program that is no good the first time.
fn program(directory: &Path, attack: &Attack) -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap();
    let (place, own) = (directory.display(), own.display());
    let part = format!("env '{ENV}={}' '{}={place}' '{own}'", attack.name, stage::ENV);
    let text = format!("#!/bin/sh\nmkdir '{place}/first' 2>&- && exec {part}\nexec '{own}'\n");
    let script = directory.join("worker");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn test(attack: &Attack, transport: Transport) {
    let before = ResourceSnapshot::now();
    observer::forget();
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup { backend: Backend::Processes, transport, start_method: StartMethod::Spawn };
    let builder = setup
        .builder()
        .retries(0)
        .arena_limit(Some(64 << 20))
        // So that map knows how small jobs are before it has handed over all of them.
        .queue(32)
        .start_deadline(DEADLINE)
        .heartbeat(DEADLINE)
        .worker_program(Some(program(directory.path(), attack)));
    match attack.end {
        // With another one that is ready it would be replaced.
        NoStart(why) => does_not_start(builder.workers(1), why),
        _ => works_on(&builder.build().unwrap(), attack, directory.path()),
    }
    assert_eq!(observer::panics(), 0, "a thread of the coordinator has panicked");
    let peak = observer::peak_memory();
    assert!(peak < 400 << 20, "the coordinator took {peak} bytes");
    before.assert_same();
}

fn does_not_start(builder: PoolBuilder, why: &str) {
    let error = builder.build().map(Pool::close).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    let expected = match why {
        "not ready after" => matches!(error, PoolError::StartTimeout { .. }),
        _ => matches!(error, PoolError::Refused { .. }),
    };
    assert!(expected, "{error:?}");
}

/// Gives the pool work until the worker that is no good has done what it does wrong.
fn works_on(pool: &Pool, attack: &Attack, place: &Path) {
    let begin = Instant::now();
    let (work, end) = (attack.work, attack.end);
    let (mut round, mut bad) = (0, 0);
    let is_over = || {
        bad += a_round(pool, work, end, round);
        // The other one does short jobs before this one is awake, but not those that follow.
        round += 1;
        match end {
            Ended(why) => observer::said(why),
            TimedOut | Own => bad > 0,
            NoStart(_) | Harmless => place.join(stage::MARK).exists(),
        }
    };
    wait_until("its end, told with the reason", is_over, observer::everything);
    match end {
        Ended(_) => {
            // No other job was harmed.
            assert!(bad <= 1, "{bad} jobs were harmed");
            assert!(pool.status().gave_up.is_none());
        }
        TimedOut | Own => assert_eq!(bad, 1),
        NoStart(_) | Harmless => {
            assert_eq!(pool.status().restarts, 0, "{}", observer::everything())
        }
    }
    // The gate for what a worker has logged, or is warned of, lets 5,000 a second through.
    let most = 5_000 * (begin.elapsed().as_secs() as usize + 1) + 100;
    assert!(observer::count() <= most, "{} warnings", observer::count());
    // Nothing here waits for longer than the deadlines that it was told.
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

/// Has a pool do jobs, and checks what comes of them; how many ended as the way's do.
fn a_round(pool: &Pool, work: JobMix, end: ExpectedOutcome, round: u32) -> usize {
    let size = |i: usize| (i * 7919) % 100_000;
    let bare = || match round {
        0 => JobSpec::new("echo"),
        _ => JobSpec::new("busy").param("ms", 1),
    };
    let jobs = (0..if work == JobMix::Batches { 400 } else { 60 }).map(|i| match work {
        JobMix::Mixed if round == 0 => JobSpec::new("echo").input(bytes(size(i), 0)),
        JobMix::Mixed | JobMix::Bare => bare(),
        JobMix::Batches => JobSpec::new("echo"),
        JobMix::Timed => bare().timeout(Duration::from_millis(300)),
    });
    let outcomes: Vec<_> = if work == JobMix::Batches {
        pool.map(jobs).collect()
    } else {
        let handles: Vec<_> = jobs.map(|job| pool.submit(job).unwrap()).collect();
        handles.into_iter().map(brigade_exec::JobHandle::wait).collect()
    };
    let mut bad = 0;
    for (i, outcome) in outcomes.into_iter().enumerate() {
        match (outcome.status(), end) {
            (Status::Ok, Own) if outcome.bytes_out() > 0 => {
                bad += 1;
                assert_eq!(result(outcome).unwrap(), [[0; 1000]; 2]);
            }
            (Status::Ok, _) => {
                let outputs = result(outcome).unwrap();
                let is_echo = work == JobMix::Mixed && round == 0;
                let expected = is_echo.then(|| bytes(size(i), 1).to_vec());
                assert_eq!(outputs, Vec::from_iter(expected), "job {i}");
            }
            (Status::Crashed, Ended(why)) => {
                bad += 1;
                let error = result(outcome).unwrap_err().to_string();
                assert!(error.contains(why), "job {i}: {error}");
            }
            (Status::TimedOut, TimedOut) => bad += 1,
            _ => panic!("job {i}: {outcome:?}"),
        }
    }
    bad
}
