//! Model checks with loom: every interleaving of a few steps, and every value that the memory model
//! lets a read return.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::{Consumer, MAX_MESSAGE, Producer, SLOT_WORDS, WakeFlag, WordMemory, slot};

/// Index of the flag's word.
const FLAG: usize = 1_000_000;

/// The words that a ring of three short messages touches, and a futex.
struct LoomMemory {
    head: AtomicU64,
    slots: [[AtomicU64; 2]; 3],
    flag: AtomicU64,
    futex: Mutex<()>,
    changed: Condvar,
}

impl LoomMemory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU64::new(0),
            slots: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            flag: AtomicU64::new(0),
            futex: Mutex::new(()),
            changed: Condvar::new(),
        })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        match index {
            0 => &self.head,
            FLAG => &self.flag,
            _ => {
                let place = index - slot(0, 0);
                &self.slots[place / SLOT_WORDS][place % SLOT_WORDS]
            }
        }
    }
}

impl WordMemory for LoomMemory {
    fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }
    fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }
    fn swap(&self, index: usize, value: u64) -> u64 {
        self.word(index).swap(value, Ordering::SeqCst)
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
    fn write(&self, index: usize, bytes: &[u8]) {
        let value = u64::from_ne_bytes(bytes.try_into().unwrap());
        self.word(index).store(value, Ordering::Relaxed);
    }
    fn read(&self, index: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.word(index).load(Ordering::Relaxed).to_ne_bytes());
    }
    fn sleep_on(&self, index: usize, expected: u32, _: Option<Duration>) {
        let guard = self.futex.lock().unwrap();
        // The kernel compares and goes to sleep in one step.
        if self.word(index).load(Ordering::Relaxed) as u32 == expected {
            drop(self.changed.wait(guard).unwrap());
        }
    }
    fn wake(&self, _: usize) {
        let _guard = self.futex.lock().unwrap();
        self.changed.notify_all();
    }
}

fn ends(
    model: &Arc<LoomMemory>,
) -> (Producer<LoomMemory>, Consumer<LoomMemory>, WakeFlag<LoomMemory>) {
    (
        Producer::new(Arc::clone(model), 0),
        Consumer::new(Arc::clone(model), 0),
        WakeFlag::new(Arc::clone(model), FLAG),
    )
}

/// Takes a message; sleeps while there is none. Like `WorkerEndpoint::next`, without its polling.
fn take(consumer: &mut Consumer<LoomMemory>, flag: &WakeFlag<LoomMemory>) -> u64 {
    let mut buffer = [0; MAX_MESSAGE];
    while !consumer.is_ready() {
        flag.set(1);
        if !consumer.is_ready() {
            flag.sleep(1, None);
        }
        flag.set(0);
    }
    let message = consumer.pop(&mut buffer).unwrap().expect("it was ready");
    u64::from_ne_bytes((&*message).try_into().unwrap())
}

/// Publishes a message and wakes the sleeper. Like `CoordinatorEndpoint::send_request`.
fn give(producer: &mut Producer<LoomMemory>, flag: &WakeFlag<LoomMemory>, message: u64) {
    assert!(producer.push(&message.to_ne_bytes()));
    flag.fence();
    flag.raise(1);
}

#[test]
fn messages_are_whole_and_in_order_and_no_wake_up_is_lost() {
    loom::model(|| {
        let model = LoomMemory::new();
        let (mut producer, mut consumer, flag) = ends(&model);
        let waker = flag.clone();
        let other = thread::spawn(move || {
            give(&mut producer, &waker, 41);
            give(&mut producer, &waker, 42);
        });
        assert_eq!(take(&mut consumer, &flag), 41);
        // A lost wake-up is a deadlock here, which loom reports.
        assert_eq!(take(&mut consumer, &flag), 42);
        other.join().unwrap();
    });
}

#[test]
fn two_wakers_of_one_sleeper() {
    loom::model(|| {
        let model = LoomMemory::new();
        let (mut producer, mut consumer, flag) = ends(&model);
        let (worker, supervisor) = (flag.clone(), flag.clone());
        let first = thread::spawn(move || give(&mut producer, &worker, 41));
        let second = thread::spawn(move || {
            supervisor.fence();
            supervisor.raise(1);
        });
        assert_eq!(take(&mut consumer, &flag), 41);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// The producer dies after any of its steps; the supervisor then wakes the sleeper. The message is
/// whole or not there, and no thread sleeps for ever.
#[test]
fn the_producers_death_at_any_step() {
    for steps in 0..=3 {
        let mut model = loom::model::Builder::new();
        // All interleavings take a minute; those with up to three preemptions take a second.
        model.preemption_bound = Some(3);
        model.check(move || {
            let model = LoomMemory::new();
            let (mut producer, mut consumer, flag) = ends(&model);
            let dead = Arc::new(AtomicU64::new(0));
            let (waker, watcher, news) = (flag.clone(), flag.clone(), Arc::clone(&dead));
            let memory = Arc::clone(&model);
            let worker = thread::spawn(move || {
                if steps == 1 {
                    // Written, not sealed.
                    memory.write(slot(0, 0) + 1, &41_u64.to_ne_bytes());
                }
                if steps >= 2 {
                    assert!(producer.push(&41_u64.to_ne_bytes()));
                }
                if steps >= 3 {
                    waker.fence();
                    waker.raise(1);
                }
                // From here on this thread acts as the supervisor, which has seen the death.
                news.store(1, Ordering::Release);
                watcher.fence();
                watcher.raise(1);
            });
            // Like the leader: checks the ring and the death before it sleeps.
            let mut buffer = [0; MAX_MESSAGE];
            let mut got = None;
            loop {
                let over = dead.load(Ordering::Acquire) == 1;
                if let Some(message) = consumer.pop(&mut buffer).unwrap() {
                    assert_eq!(got.replace(message.to_vec()), None);
                }
                if over {
                    break;
                }
                flag.set(1);
                if !consumer.is_ready() && dead.load(Ordering::Acquire) == 0 {
                    flag.sleep(1, None);
                }
                flag.set(0);
            }
            assert_eq!(got, (steps >= 2).then(|| 41_u64.to_ne_bytes().to_vec()));
            worker.join().unwrap();
        });
    }
}
