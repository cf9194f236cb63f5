//! Ways to be no good with an endpoint: its rings, its status page, and the doorbells.

use std::thread;
use std::time::Duration;

use brigade_ipc::Carriage;
use brigade_ipc::wire::{
    BatchOthers, ControlMessage, Instants, LogRecord, Place, Reply, encode_bulk,
};
use brigade_proto::{JobError, JobId};
use brigade_sys::clock;

use super::stage::{Stage, hang, mark};

/// A number that no job has.
const NO_JOB: JobId = JobId(999_999_999);
const NEVER: Instants = Instants { in_hand: 0, called: 0, returned: 0, published: 0 };

/// Does `good` jobs as it should; has another one in hand, and does this.
fn after(mut stage: Stage, good: usize, bad: impl FnOnce(&mut Stage, JobId)) {
    for _ in 0..good {
        let given = stage.next().unwrap();
        stage.do_well(given.job);
    }
    let job = stage.first().job;
    bad(&mut stage, job);
    hang();
}

pub(super) fn garbage(stage: Stage) {
    after(stage, 0, |stage, _| stage.scribble(0, &[0xabab_abab_abab_abab; 32 * 64]));
}

pub(super) fn scribbles(stage: Stage) {
    after(stage, 0, |stage, _| stage.scribble_everywhere(0xff));
}

pub(super) fn backwards(stage: Stage) {
    after(stage, 3, |stage, _| stage.scribble(3, &[Stage::seal(1, 40)]));
}

/// As if it wrote where it should not, and died of that.
pub(super) fn and_dies(stage: Stage) {
    after(stage, 0, |stage, _| {
        stage.scribble(0, &[Stage::seal(7, 40)]);
        std::process::abort();
    });
}

pub(super) fn ahead(stage: Stage) {
    after(stage, 2, |stage, _| stage.scribble(2, &[Stage::seal(7, 40)]));
}

pub(super) fn longer_than_its_slot(stage: Stage) {
    after(stage, 1, |stage, _| stage.scribble(1, &[Stage::seal(1, 1000)]));
}

/// Publishes these bytes.
pub(super) fn publishes(stage: Stage, bytes: &[u8]) {
    after(stage, 0, |stage, _| stage.connected.endpoint.publish(bytes));
}

pub(super) fn strange_job(stage: Stage) {
    after(stage, 1, |stage, _| stage.answer(NO_JOB, NEVER, None, Vec::new()));
}

pub(super) fn twice(stage: Stage) {
    after(stage, 1, |stage, job| {
        stage.answer(job, NEVER, None, Vec::new());
        stage.answer(job, NEVER, None, Vec::new());
    });
}

pub(super) fn flood_of_answers(stage: Stage) {
    after(stage, 0, |stage, job| {
        loop {
            stage.answer(job, NEVER, None, Vec::new());
        }
    });
}

/// Answers with these outputs.
pub(super) fn outputs(stage: Stage, outputs: Vec<Place>) {
    after(stage, 0, |stage, job| stage.answer(job, NEVER, None, outputs));
}

/// As [`outputs`], with one region of its own.
pub(super) fn outputs_in_its_region(mut stage: Stage, place: Place) {
    let need = Reply::NeedRegion { bytes: 1000 };
    stage.connected.replies.send(need, Vec::new(), Carriage::Shared).unwrap();
    while !matches!(
        stage.connected.requests.recv::<ControlMessage>().unwrap().0,
        ControlMessage::Outputs
    ) {}
    outputs(stage, vec![place]);
}

pub(super) fn error(stage: Stage, error: JobError) {
    after(stage, 0, |stage, job| stage.answer(job, NEVER, Some(error), Vec::new()));
}

/// Has its first batch in hand, and answers it with this.
pub(super) fn batch(mut stage: Stage, said: impl Fn(u32) -> Vec<u8>) {
    loop {
        let given = stage.next().unwrap();
        stage.take(given.job);
        if let Some(count) = given.count {
            let said = Place::Here(said(count).into());
            stage.answer(given.job, NEVER, None, vec![said]);
            hang();
        }
        stage.do_well(given.job);
    }
}

/// The right end for the jobs of a batch, but for what follows.
pub(super) fn with_others(count: u32, others: &BatchOthers) -> Vec<u8> {
    [vec![0; 8 * count as usize], encode_bulk(others).unwrap()].concat()
}

/// No job of a batch was run, but for what follows.
pub(super) fn none_run(count: u32, others: &BatchOthers) -> Vec<u8> {
    [vec![0xff; 8 * count as usize], encode_bulk(others).unwrap()].concat()
}

/// Says of each batch that there was no room for outputs, and does single jobs well.
pub(super) fn runs_no_batch(mut stage: Stage) {
    while let Some(given) = stage.next() {
        let Some(count) = given.count else {
            stage.do_well(given.job);
            continue;
        };
        stage.take(given.job);
        let said = Place::Here(none_run(count, &Vec::new()).into());
        stage.answer(given.job, NEVER, None, vec![said]);
        stage.connected.endpoint.done();
        mark();
    }
}

/// Takes nothing in hand, ever.
pub(super) fn silent(_: Stage) {
    hang();
}

/// Shortens what it shares, with inputs and outputs in it, and goes on.
pub(super) fn cuts_memory_off(mut stage: Stage) {
    stage.cut_off();
    let need = Reply::NeedRegion { bytes: 1000 };
    stage.connected.replies.send(need, Vec::new(), Carriage::Shared).unwrap();
    // A region that is dropped is unmapped, and its descriptor closed: these stay.
    let mut regions = Vec::new();
    loop {
        let (mail, payloads) = stage.connected.requests.recv::<ControlMessage>().unwrap();
        regions.push(payloads);
        stage.cut_off();
        if matches!(mail, ControlMessage::Outputs) {
            break;
        }
    }
    let place = Place::Slab { region: 0, offset: 0, len: 1000, slab: 0 };
    outputs(stage, vec![place.clone(), place]);
}

/// Writes a whole answer into the ring, and wakes nobody.
pub(super) fn never_rings(mut stage: Stage) {
    let job = stage.next().unwrap().job;
    // An answer without outputs: tag, how many, six that are zero, the job.
    let mut answer = [0; 6];
    (answer[4], answer[5]) = (1, job.0);
    stage.scribble(0, &[&[0], &answer[..]].concat());
    stage.scribble(0, &[Stage::seal(0, 48)]);
    hang();
}

pub(super) fn silences_the_bells(mut stage: Stage) {
    let mut silence = stage.silence_the_bells();
    thread::spawn(move || {
        loop {
            silence();
            thread::sleep(Duration::from_micros(50));
        }
    });
    works(&mut stage, |_| None);
}

/// Does all jobs as it should, but for the instants that it claims.
pub(super) fn impossible_instants(mut stage: Stage) {
    works(&mut stage, |job| {
        let (zero, end) = (0, u64::MAX);
        let [in_hand, called, returned, published] = match job.0 % 4 {
            0 => [zero, zero, zero, zero],
            1 => [end, end, end, end],
            2 => [end, 1, end, zero],
            _ => [zero, end, 1, end - 1],
        };
        Some(Instants { in_hand, called, returned, published })
    });
}

fn works(stage: &mut Stage, instants: impl Fn(JobId) -> Option<Instants>) {
    while let Some(given) = stage.next() {
        match instants(given.job) {
            Some(instants) => {
                stage.take(given.job);
                stage.answer(given.job, instants, None, Vec::new());
                stage.connected.endpoint.done();
            }
            None => stage.do_well(given.job),
        }
        mark();
    }
}

/// Says that its kernel is yet to be called, and runs on.
pub(super) fn called_in_the_future(stage: Stage) {
    after(stage, 0, |stage, _| stage.connected.endpoint.call(u64::MAX - 1));
}

/// Says again and again that its kernel was called just now.
pub(super) fn called_again_and_again(stage: Stage) {
    after(stage, 0, |stage, _| {
        loop {
            stage.connected.endpoint.call(clock::now());
            thread::sleep(Duration::from_millis(1));
        }
    });
}

pub(super) fn flood_of_logs(stage: Stage) {
    let record = LogRecord {
        level: 1,
        target: "flood".to_owned(),
        text: "x".repeat(60_000),
        job: None,
        at: 0,
    };
    loop {
        let record = Reply::Log(record.clone());
        if stage.connected.replies.send(record, Vec::new(), Carriage::Shared).is_err() {
            hang();
        }
    }
}

/// Asks for memory without end and takes none of it.
pub(super) fn flood_of_needs(stage: Stage) {
    for bytes in [1 << 20, u64::MAX, 0, 1 << 40].into_iter().cycle() {
        let need = Reply::NeedRegion { bytes };
        if stage.connected.replies.send(need, Vec::new(), Carriage::Shared).is_err() {
            hang();
        }
    }
}

/// Has a job in hand when it closes its channels, and goes on.
pub(super) fn closes_its_channels(mut stage: Stage) {
    stage.first();
    let Stage { connected, socket, .. } = stage;
    let brigade_ipc::Connected { endpoint, requests, replies, .. } = connected;
    drop((requests, replies, socket));
    let _station = endpoint;
    hang();
}
