//! Ways to be no good with an endpoint: its rings, its status page, and the doorbells.

use std::thread;
use std::time::Duration;

use brigade_ipc::Carriage;
use brigade_ipc::wire::{
    BatchOthers, ControlMessage, Instants, LogRecord, MessageResponse, PayloadLocation, encode_bulk,
};
use brigade_proto::{JobError, JobId};
use brigade_sys::clock;

use super::stage::{HostileWorker, hang, mark};

/// A number that no job has.
const NO_JOB: JobId = JobId(999_999_999);
const NEVER: Instants = Instants { in_hand: 0, called: 0, returned: 0, published: 0 };

/// Does `good` jobs as it should; has another one in hand, and does this.
fn after(mut worker: HostileWorker, good: usize, bad: impl FnOnce(&mut HostileWorker, JobId)) {
    for _ in 0..good {
        let given = worker.next().unwrap();
        worker.do_well(given.job);
    }
    let job = worker.first().job;
    bad(&mut worker, job);
    hang();
}

pub(super) fn garbage(worker: HostileWorker) {
    after(worker, 0, |worker, _| worker.scribble(0, &[0xabab_abab_abab_abab; 32 * 64]));
}

pub(super) fn scribbles(worker: HostileWorker) {
    after(worker, 0, |worker, _| worker.scribble_everywhere(0xff));
}

pub(super) fn backwards(worker: HostileWorker) {
    after(worker, 3, |worker, _| worker.scribble(3, &[HostileWorker::seal(1, 40)]));
}

/// As if it wrote where it should not, and died of that.
pub(super) fn and_dies(worker: HostileWorker) {
    after(worker, 0, |worker, _| {
        worker.scribble(0, &[HostileWorker::seal(7, 40)]);
        std::process::abort();
    });
}

pub(super) fn ahead(worker: HostileWorker) {
    after(worker, 2, |worker, _| worker.scribble(2, &[HostileWorker::seal(7, 40)]));
}

pub(super) fn longer_than_its_slot(worker: HostileWorker) {
    after(worker, 1, |worker, _| worker.scribble(1, &[HostileWorker::seal(1, 1000)]));
}

/// Publishes these bytes.
pub(super) fn publishes(worker: HostileWorker, bytes: &[u8]) {
    after(worker, 0, |worker, _| worker.connected.endpoint.publish(bytes));
}

pub(super) fn strange_job(worker: HostileWorker) {
    after(worker, 1, |worker, _| worker.respond(NO_JOB, NEVER, None, Vec::new()));
}

pub(super) fn twice(worker: HostileWorker) {
    after(worker, 1, |worker, job| {
        worker.respond(job, NEVER, None, Vec::new());
        worker.respond(job, NEVER, None, Vec::new());
    });
}

pub(super) fn flood_of_responses(worker: HostileWorker) {
    after(worker, 0, |worker, job| {
        loop {
            worker.respond(job, NEVER, None, Vec::new());
        }
    });
}

/// Answers with these outputs.
pub(super) fn outputs(worker: HostileWorker, outputs: Vec<PayloadLocation>) {
    after(worker, 0, |worker, job| worker.respond(job, NEVER, None, outputs));
}

/// As [`outputs`], with one region of its own.
pub(super) fn outputs_in_its_region(mut worker: HostileWorker, location: PayloadLocation) {
    let need = MessageResponse::NeedRegion { bytes: 1000 };
    worker.connected.responses.send(need, Vec::new(), Carriage::Shared).unwrap();
    while !matches!(
        worker.connected.requests.recv::<ControlMessage>().unwrap().0,
        ControlMessage::Outputs
    ) {}
    outputs(worker, vec![location]);
}

pub(super) fn error(worker: HostileWorker, error: JobError) {
    after(worker, 0, |worker, job| worker.respond(job, NEVER, Some(error), Vec::new()));
}

/// Has its first batch in hand, and answers it with this.
pub(super) fn batch(mut worker: HostileWorker, said: impl Fn(u32) -> Vec<u8>) {
    loop {
        let given = worker.next().unwrap();
        worker.take(given.job);
        if let Some(count) = given.count {
            let said = PayloadLocation::Here(said(count).into());
            worker.respond(given.job, NEVER, None, vec![said]);
            hang();
        }
        worker.do_well(given.job);
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
pub(super) fn runs_no_batch(mut worker: HostileWorker) {
    while let Some(given) = worker.next() {
        let Some(count) = given.count else {
            worker.do_well(given.job);
            continue;
        };
        worker.take(given.job);
        let said = PayloadLocation::Here(none_run(count, &Vec::new()).into());
        worker.respond(given.job, NEVER, None, vec![said]);
        worker.connected.endpoint.done();
        mark();
    }
}

/// Takes nothing in hand, ever.
pub(super) fn silent(_: HostileWorker) {
    hang();
}

/// Shortens what it shares, with inputs and outputs in it, and goes on.
pub(super) fn cuts_memory_off(mut worker: HostileWorker) {
    worker.cut_off();
    let need = MessageResponse::NeedRegion { bytes: 1000 };
    worker.connected.responses.send(need, Vec::new(), Carriage::Shared).unwrap();
    // A region that is dropped is unmapped, and its descriptor closed: these stay.
    let mut regions = Vec::new();
    loop {
        let (mail, payloads) = worker.connected.requests.recv::<ControlMessage>().unwrap();
        regions.push(payloads);
        worker.cut_off();
        if matches!(mail, ControlMessage::Outputs) {
            break;
        }
    }
    let location = PayloadLocation::Slab { region: 0, offset: 0, len: 1000, slab: 0 };
    outputs(worker, vec![location.clone(), location]);
}

/// Writes a whole response into the ring, and wakes nobody.
pub(super) fn never_rings(mut worker: HostileWorker) {
    let job = worker.next().unwrap().job;
    // A response without outputs: tag, how many, six that are zero, the job.
    let mut response = [0; 6];
    (response[4], response[5]) = (1, job.0);
    worker.scribble(0, &[&[0], &response[..]].concat());
    worker.scribble(0, &[HostileWorker::seal(0, 48)]);
    hang();
}

pub(super) fn silences_the_bells(mut worker: HostileWorker) {
    let mut silence = worker.silence_the_bells();
    thread::spawn(move || {
        loop {
            silence();
            thread::sleep(Duration::from_micros(50));
        }
    });
    works(&mut worker, |_| None);
}

/// Does all jobs as it should, but for the instants that it claims.
pub(super) fn impossible_instants(mut worker: HostileWorker) {
    works(&mut worker, |job| {
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

fn works(worker: &mut HostileWorker, instants: impl Fn(JobId) -> Option<Instants>) {
    while let Some(given) = worker.next() {
        match instants(given.job) {
            Some(instants) => {
                worker.take(given.job);
                worker.respond(given.job, instants, None, Vec::new());
                worker.connected.endpoint.done();
            }
            None => worker.do_well(given.job),
        }
        mark();
    }
}

/// Says that its kernel is yet to be called, and runs on.
pub(super) fn called_in_the_future(worker: HostileWorker) {
    after(worker, 0, |worker, _| worker.connected.endpoint.call(u64::MAX - 1));
}

/// Says again and again that its kernel was called just now.
pub(super) fn called_again_and_again(worker: HostileWorker) {
    after(worker, 0, |worker, _| {
        loop {
            worker.connected.endpoint.call(clock::now());
            thread::sleep(Duration::from_millis(1));
        }
    });
}

pub(super) fn flood_of_logs(worker: HostileWorker) {
    let record = LogRecord {
        level: 1,
        target: "flood".to_owned(),
        text: "x".repeat(60_000),
        job: None,
        at: 0,
    };
    loop {
        let record = MessageResponse::Log(record.clone());
        if worker.connected.responses.send(record, Vec::new(), Carriage::Shared).is_err() {
            hang();
        }
    }
}

/// Asks for memory without end and takes none of it.
pub(super) fn flood_of_needs(worker: HostileWorker) {
    for bytes in [1 << 20, u64::MAX, 0, 1 << 40].into_iter().cycle() {
        let need = MessageResponse::NeedRegion { bytes };
        if worker.connected.responses.send(need, Vec::new(), Carriage::Shared).is_err() {
            hang();
        }
    }
}

/// Has a job in hand when it closes its channels, and goes on.
pub(super) fn closes_its_channels(mut worker: HostileWorker) {
    worker.first();
    let HostileWorker { connected, socket, .. } = worker;
    let brigade_ipc::Connected { endpoint, requests, responses, .. } = connected;
    drop((requests, responses, socket));
    let _station = endpoint;
    hang();
}
