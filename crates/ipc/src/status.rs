use brigade_proto::{JobId, Nanos};
use brigade_sys::shared::Words;
use ipc_channel::ipc::IpcSharedMemory;

/// What a worker is doing: words in shared memory that it writes and the
/// coordinator reads, without a message and also after the worker's death. Who is
/// to blame for a crash, and when a timeout began, is read here.
#[derive(Debug)]
pub struct StatusPage(Words<IpcSharedMemory>);

const BYTES: usize = 4096;
const JOB: usize = 0;
const CALLED: usize = 1;

impl StatusPage {
    /// A page that says "idle", and its other half, to be sent.
    pub(crate) fn create() -> Option<(Self, IpcSharedMemory)> {
        std::panic::catch_unwind(|| {
            let region = IpcSharedMemory::from_byte(0, BYTES);
            (region.clone(), region)
        })
        .ok()
        .and_then(|(mine, theirs)| Some((Self::open(mine)?, theirs)))
    }

    pub(crate) fn open(region: IpcSharedMemory) -> Option<Self> {
        let long_enough = region.len() >= BYTES;
        Words::new(region, IpcSharedMemory::deref_mut).filter(|_| long_enough).map(Self)
    }

    /// Worker: has a job in hand.
    pub fn take(&self, job: JobId) {
        self.0.store(CALLED, 0);
        self.0.store(JOB, job.0 + 1);
    }

    /// Worker: calls the kernel now.
    pub fn call(&self, at: Nanos) {
        self.0.store(CALLED, at);
    }

    /// Worker: has published the result.
    pub fn done(&self) {
        self.0.store(JOB, 0);
    }

    /// Coordinator: the job that the worker has in hand, and when its kernel was
    /// called, if it was.
    pub fn current(&self) -> Option<(JobId, Option<Nanos>)> {
        loop {
            let job = self.0.load(JOB);
            let called = self.0.load(CALLED);
            // The job changed between the two looks: `called` may be the next one's.
            if self.0.load(JOB) == job {
                let id = JobId(job.checked_sub(1)?);
                return Some((id, (called != 0).then_some(called)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_sees_each_step() {
        let (mine, theirs) = StatusPage::create().unwrap();
        let theirs = StatusPage::open(theirs).unwrap();
        assert_eq!(mine.current(), None);
        theirs.take(JobId(0));
        assert_eq!(mine.current(), Some((JobId(0), None)));
        theirs.call(55);
        assert_eq!(mine.current(), Some((JobId(0), Some(55))));
        theirs.done();
        assert_eq!(mine.current(), None);
    }
}
