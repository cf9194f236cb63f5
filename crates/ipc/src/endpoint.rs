//! What a worker and its coordinator share: the status page, the flag on which the worker sleeps,
//! and the two rings. And what all workers of a pool share with the coordinator: the doorbells,
//! which are the flags on which the coordinator sleeps.

use std::hint;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use brigade_proto::{JobId, Nanos};
use brigade_sys::affinity::{self, SharedCoreDetector};
use brigade_sys::clock;
use brigade_sys::mapping::Mapping;
use brigade_sys::shared::Words;
use brigade_sys::stall::StallDetector;

use crate::fresh;
use crate::ring::{self, Consumer, Corrupt, MAX_MESSAGE, Producer, WakeFlag};

type MappedWords = Words<Mapping>;

const JOB: usize = 0;
const CALLED: usize = 1;
/// The coordinator's core, counted from 1, or 0. The coordinator writes it when it changes.
const CORE: usize = 2;
/// On a cache line of its own: the coordinator writes it.
const ASLEEP: usize = 16;
const REQUESTS: usize = 32;
const RESPONSES: usize = REQUESTS + ring::WORDS;
const WORDS: usize = RESPONSES + ring::WORDS;

fn open(mapping: Mapping, words: usize) -> Option<MappedWords> {
    Words::new(mapping, Mapping::bytes_mut).filter(|memory| memory.count() >= words)
}

/// How a thread waits before it sleeps: it polls without a pause, then yields the core between
/// polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpinPolicy {
    /// Number of polls without a yield.
    pub spins: u32,
    /// How long the thread then yields between polls. About what waking a sleeper costs: the sum is
    /// then at most twice what the best choice would have cost (Karlin, Li, Manasse and Owicki,
    /// "Empirical studies of competitive spinning", SOSP 1991).
    pub yields: Duration,
}

impl SpinPolicy {
    /// Sleeps at once.
    pub const NONE: Self = Self { spins: 0, yields: Duration::ZERO };

    /// The same without the polls that do not yield, for a side that has just woken the other or
    /// been woken by it. The two are likely to share a core then, because schedulers wake a sleeper
    /// where its waker runs, and each poll keeps the other side from its work.
    #[must_use]
    pub fn after_a_wake_up(self) -> Self {
        Self { spins: 0, ..self }
    }

    /// Polls until `ready` is true or the policy's time is over; returns whether it was true.
    pub fn wait(self, mut ready: impl FnMut() -> bool) -> bool {
        for look in 0..self.spins {
            if ready() {
                return true;
            }
            // On some processors a pause takes as long as a message between two cores, so the loop
            // does not pause after every poll.
            if look % 4 == 3 {
                hint::spin_loop();
            }
        }
        if self.yields.is_zero() {
            return ready();
        }
        let begin = clock::now();
        loop {
            if ready() {
                return true;
            }
            if clock::since(begin) >= self.yields {
                return false;
            }
            thread::yield_now();
        }
    }
}

/// The flags on which a pool's coordinator sleeps: one region for all workers.
#[derive(Clone, Debug)]
pub struct Doorbells {
    leader: WakeFlag<MappedWords>,
    completions: WakeFlag<MappedWords>,
    memory: Arc<MappedWords>,
}

/// When the completion thread wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakePolicy {
    /// Not at all: it is not needed.
    Never = 1,
    /// When a worker runs out of work and its results have not been collected.
    Idle = 2,
    /// At every result.
    Always = 3,
}

const BELL_WORDS: usize = 64;

/// What the coordinator knows of time that counts against no job (see [`StallDetector`]), for the
/// workers. On a cache line of its own. `ASKED` is 0 while the coordinator writes the others.
const ASKED: usize = 32;
const LOOKED: usize = 33;
const FROZEN: usize = 34;

impl Doorbells {
    fn on(memory: MappedWords) -> Self {
        let memory = Arc::new(memory);
        Self {
            leader: WakeFlag::new(Arc::clone(&memory), 0),
            completions: WakeFlag::new(Arc::clone(&memory), 16),
            memory,
        }
    }

    /// Creates the doorbells, and the descriptor of their memory to send to each worker.
    pub fn create() -> Option<(Self, DoorbellsRegion)> {
        let theirs = fresh::file(BELL_WORDS * size_of::<u64>())?;
        Some((Self::open(Mapping::of(&theirs).ok()?)?, DoorbellsRegion(Arc::new(theirs))))
    }

    pub(crate) fn open(mapping: Mapping) -> Option<Self> {
        Some(Self::on(open(mapping, BELL_WORDS)?))
    }

    /// Tells the workers how much time counts against no job. Only one thread may call this.
    pub fn tell_stalls(&self, stall_detector: StallDetector) {
        self.memory.store(ASKED, 0);
        self.memory.store(LOOKED, stall_detector.looked);
        self.memory.store(FROZEN, stall_detector.frozen);
        self.memory.store(ASKED, stall_detector.asked);
    }

    fn stalls(&self) -> StallDetector {
        let load = |word| self.memory.load(word);
        let mut stall_detector = StallDetector::default();
        // Bounded: the coordinator may have been stopped while it wrote.
        for _ in 0..50 {
            let asked = load(ASKED);
            stall_detector = StallDetector { looked: load(LOOKED), asked, frozen: load(FROZEN) };
            if asked != 0 && load(ASKED) == asked {
                break;
            }
        }
        stall_detector
    }

    /// The leader is about to sleep. It must poll the rings after this call.
    pub fn leader_sleeps(&self) {
        self.leader.set(1);
    }

    /// The leader is awake.
    pub fn leader_wakes(&self) {
        self.leader.set(0);
    }

    /// Sleeps until the leader is woken, for at most `limit`; may return early.
    pub fn sleep_as_leader(&self, limit: Option<Duration>) {
        self.leader.sleep(1, limit);
    }

    /// Wakes the leader if it sleeps.
    pub fn wake_leader(&self) {
        self.leader.fence();
        self.leader.raise(1);
    }

    /// Sets when the completion thread wants to be woken. The caller must poll the rings after
    /// this.
    pub fn set_wake_policy(&self, call: WakePolicy) {
        self.completions.set(call as u32);
    }

    /// Sleeps until the completion thread is woken or its policy is no longer `call`; may return
    /// early. Returns whether it was woken.
    pub fn sleep_as_completion_thread(&self, call: WakePolicy, limit: Option<Duration>) -> bool {
        self.completions.sleep(call as u32, limit);
        self.completions.get() == 0
    }

    /// Wakes the completion thread, whatever its policy. The caller must first publish what the
    /// thread should find.
    pub fn wake_completion_thread(&self) {
        self.completions.fence();
        self.completions.raise(WakePolicy::Never as u32);
    }
}

/// The memory of the doorbells, to send to a worker.
#[derive(Clone, Debug)]
pub struct DoorbellsRegion(Arc<OwnedFd>);

impl AsFd for DoorbellsRegion {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A worker's status page, as the supervisor sees it. It shows what the worker is doing; the
/// supervisor reads it without asking the worker, and also after the worker's death. It tells which
/// job to blame for a crash, and when a timeout began.
#[derive(Clone, Debug)]
pub struct StatusPage(Arc<MappedWords>);

impl StatusPage {
    /// The job that the worker has in hand, and when its kernel was called, if it was.
    pub fn current(&self) -> Option<(JobId, Option<Nanos>)> {
        // Bounded: a worker may write nonsense as fast as it can. Any result will do then.
        for _ in 0..1000 {
            let job = self.0.load(JOB);
            let called = self.0.load(CALLED);
            // If the job changed between the two loads, `called` may belong to the next job.
            if self.0.load(JOB) == job {
                let id = JobId(job.checked_sub(1)?);
                return Some((id, (called != 0).then_some(called)));
            }
        }
        None
    }
}

/// The coordinator's side of a worker's endpoint.
#[derive(Debug)]
pub struct CoordinatorEndpoint {
    memory: Arc<MappedWords>,
    requests: Producer<MappedWords>,
    responses: Consumer<MappedWords>,
    asleep: WakeFlag<MappedWords>,
    /// Whether a request has woken the worker since [`CoordinatorEndpoint::has_woken`] was last
    /// called.
    has_woken: bool,
    /// The core that the worker was last told; `None` if the worker is not told.
    core: Option<usize>,
}

impl CoordinatorEndpoint {
    /// Creates the memory of a new endpoint, to send to the worker.
    pub(crate) fn memory() -> Option<OwnedFd> {
        fresh::file(WORDS * size_of::<u64>())
    }

    /// Maps the coordinator's side of an endpoint.
    pub(crate) fn open(endpoint: &OwnedFd) -> Option<Self> {
        let memory = Arc::new(open(Mapping::of(endpoint).ok()?, WORDS)?);
        Some(Self {
            requests: Producer::new(Arc::clone(&memory), REQUESTS),
            responses: Consumer::new(Arc::clone(&memory), RESPONSES),
            asleep: WakeFlag::new(Arc::clone(&memory), ASLEEP),
            memory,
            has_woken: false,
            core: None,
        })
    }

    /// The status page, on which the worker shows what it is doing.
    pub fn page(&self) -> StatusPage {
        StatusPage(Arc::clone(&self.memory))
    }

    /// From now on, tells the worker which core its requests come from, so that the worker leaves
    /// that core to the dispatching thread. For pools with fewer workers than cores: otherwise the
    /// worker has no other core to go to.
    pub fn tell_core(&mut self) {
        self.core = Some(usize::MAX);
    }

    /// Gives the worker a request and wakes the worker if it sleeps. False when the ring is full.
    pub fn send_request(&mut self, message: &[u8]) -> bool {
        if let Some(told) = self.core {
            let core = affinity::core();
            if core != told {
                self.memory.store(CORE, core as u64 + 1);
                self.core = Some(core);
            }
        }
        let pushed = self.requests.push(message);
        self.asleep.fence();
        self.has_woken |= self.asleep.raise(1);
        pushed
    }

    /// Whether a request has woken the worker since the last call of this function.
    pub fn has_woken(&mut self) -> bool {
        std::mem::take(&mut self.has_woken)
    }

    /// Whether the worker has published something that is not collected yet.
    pub fn is_ready(&self) -> bool {
        self.responses.is_ready()
    }

    /// Collects what the worker has published next; `None` if there is nothing.
    ///
    /// # Errors
    /// When the ring is corrupt.
    pub fn collect<'b>(
        &mut self,
        buffer: &'b mut [u8; MAX_MESSAGE],
    ) -> Result<Option<&'b mut [u8]>, Corrupt> {
        self.responses.pop(buffer)
    }
}

/// The worker's side of its endpoint.
#[derive(Debug)]
pub struct WorkerEndpoint {
    memory: Arc<MappedWords>,
    requests: Consumer<MappedWords>,
    responses: Producer<MappedWords>,
    asleep: WakeFlag<MappedWords>,
    doorbells: Doorbells,
    /// Whether the worker slept before its last request.
    woken: bool,
    /// Detects whether the worker shares its core with the dispatching thread.
    shared_core: SharedCoreDetector,
}

impl WorkerEndpoint {
    pub(crate) fn open(mapping: Mapping, doorbells: Doorbells) -> Option<Self> {
        let memory = Arc::new(open(mapping, WORDS)?);
        Some(Self {
            requests: Consumer::new(Arc::clone(&memory), REQUESTS),
            responses: Producer::new(Arc::clone(&memory), RESPONSES),
            asleep: WakeFlag::new(Arc::clone(&memory), ASLEEP),
            memory,
            doorbells,
            woken: false,
            shared_core: SharedCoreDetector::default(),
        })
    }

    /// Records on the status page that the worker has a job in hand.
    pub fn take(&self, job: JobId) {
        self.memory.store(CALLED, 0);
        self.memory.store(JOB, job.0 + 1);
    }

    /// Records on the status page when the worker calls the kernel.
    pub fn call(&self, at: Nanos) {
        self.memory.store(CALLED, at);
    }

    /// Time up to `now` that counts against no job, as the coordinator knows it.
    pub fn frozen(&self, now: Nanos) -> Nanos {
        self.doorbells.stalls().frozen(now)
    }

    /// Records on the status page that the worker has published the result.
    pub fn done(&self) {
        self.memory.store(JOB, 0);
    }

    /// Waits for a request.
    ///
    /// # Errors
    /// When the ring is corrupt.
    pub fn next<'b>(
        &mut self,
        buffer: &'b mut [u8; MAX_MESSAGE],
        spin_policy: SpinPolicy,
    ) -> Result<&'b mut [u8], Corrupt> {
        self.shared_core.migrate_if_shared();
        let woken = std::mem::take(&mut self.woken);
        let mut now = if woken { spin_policy.after_a_wake_up() } else { spin_policy };
        while !now.wait(|| self.requests.is_ready()) {
            // Perhaps no thread is polling for this worker's last response, so wake the completion
            // thread.
            if !self.responses.is_drained() {
                self.doorbells.completions.raise(WakePolicy::Idle as u32);
            }
            self.asleep.set(1);
            if !self.requests.is_ready() {
                self.asleep.sleep(1, None);
            }
            self.asleep.set(0);
            self.woken = true;
            self.shared_core.has_slept();
            now = spin_policy;
        }
        match self.requests.pop(buffer)? {
            Some(message) => {
                let core = self.memory.load(CORE);
                if core != 0 {
                    self.shared_core.mind((core - 1) as usize);
                }
                Ok(message)
            }
            None => unreachable!("it was ready, and nobody else takes requests"),
        }
    }

    /// Publishes a response to the coordinator. Waits while the ring is full, which does not happen
    /// if both sides keep to their credits.
    pub fn publish(&mut self, message: &[u8]) {
        while !self.responses.push(message) {
            thread::yield_now();
        }
        self.doorbells.leader.fence();
        self.doorbells.leader.raise(1);
        self.doorbells.completions.raise(WakePolicy::Always as u32);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// No test here takes longer, unless a thread sleeps for ever.
    const CAP: Duration = Duration::from_secs(60);

    fn endpoint() -> (CoordinatorEndpoint, WorkerEndpoint, Doorbells) {
        let memory = CoordinatorEndpoint::memory().unwrap();
        let (doorbells, theirs) = Doorbells::create().unwrap();
        let theirs = Doorbells::open(Mapping::of(&theirs.0).unwrap()).unwrap();
        let endpoint = WorkerEndpoint::open(Mapping::of(&memory).unwrap(), theirs).unwrap();
        (CoordinatorEndpoint::open(&memory).unwrap(), endpoint, doorbells)
    }

    #[test]
    fn the_other_side_sees_each_step() {
        let (coordinator, endpoint, _) = endpoint();
        let page = coordinator.page();
        assert_eq!(page.current(), None);
        endpoint.take(JobId(0));
        assert_eq!(page.current(), Some((JobId(0), None)));
        endpoint.call(55);
        assert_eq!(page.current(), Some((JobId(0), Some(55))));
        endpoint.done();
        assert_eq!(page.current(), None);
    }

    #[test]
    fn requests_and_responses_cross_whoever_sleeps() {
        for spin_policy in
            [SpinPolicy::NONE, SpinPolicy { spins: 100, yields: Duration::from_micros(50) }]
        {
            let (mut coordinator, mut endpoint, doorbells) = endpoint();
            let worker = thread::spawn(move || {
                let mut buffer = [0; MAX_MESSAGE];
                loop {
                    let request = endpoint.next(&mut buffer, spin_policy).unwrap();
                    if request.is_empty() {
                        return;
                    }
                    let response: Vec<u8> = request.iter().rev().copied().collect();
                    endpoint.publish(&response);
                }
            });
            let mut buffer = [0; MAX_MESSAGE];
            let begin = Instant::now();
            for i in 0..20_000_u32 {
                assert!(coordinator.send_request(&i.to_le_bytes()));
                while !spin_policy.wait(|| coordinator.is_ready()) {
                    doorbells.leader_sleeps();
                    if !coordinator.is_ready() {
                        doorbells.sleep_as_leader(Some(CAP));
                    }
                    doorbells.leader_wakes();
                    assert!(begin.elapsed() < CAP, "a wake-up was lost");
                }
                let response = coordinator.collect(&mut buffer).unwrap().unwrap();
                assert_eq!(response, i.to_be_bytes());
            }
            assert!(coordinator.send_request(&[]));
            worker.join().unwrap();
        }
    }

    #[test]
    fn a_worker_leaves_the_coordinators_core_after_a_while() {
        // Both sides run on this thread: they share a core as closely as possible.
        let (mut coordinator, mut endpoint, _) = endpoint();
        let mut buffer = [0; MAX_MESSAGE];
        let mut round = |coordinator: &mut CoordinatorEndpoint, endpoint: &mut WorkerEndpoint| {
            assert!(coordinator.send_request(b"work"));
            endpoint.next(&mut buffer, SpinPolicy::NONE).unwrap();
        };
        (0..320).for_each(|_| round(&mut coordinator, &mut endpoint));
        assert!(!endpoint.shared_core.has_left(), "it is told of no core");
        coordinator.tell_core();
        // The scheduler may move the test's thread, which restarts the count.
        for _ in 0..1_000_000 {
            round(&mut coordinator, &mut endpoint);
            if endpoint.shared_core.has_left() {
                return;
            }
        }
        panic!("{endpoint:?}");
    }

    #[test]
    fn a_worker_that_runs_out_of_work_calls_the_completions_for_what_was_not_collected() {
        let (mut coordinator, mut endpoint, doorbells) = endpoint();
        let worker = thread::spawn(move || {
            let mut buffer = [0; MAX_MESSAGE];
            endpoint.next(&mut buffer, SpinPolicy::NONE).unwrap();
            endpoint.publish(b"done");
            endpoint.next(&mut buffer, SpinPolicy::NONE).unwrap();
        });
        doorbells.set_wake_policy(WakePolicy::Idle);
        assert!(coordinator.send_request(b"work"));
        // Only the worker's wake-up ends this loop.
        let begin = Instant::now();
        while doorbells.completions.get() != 0 {
            doorbells.sleep_as_completion_thread(WakePolicy::Idle, Some(CAP));
            assert!(begin.elapsed() < CAP, "a wake-up was lost");
        }
        assert!(coordinator.is_ready());
        assert!(coordinator.send_request(b"leave"));
        worker.join().unwrap();
    }
}
