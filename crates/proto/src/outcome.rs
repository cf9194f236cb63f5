use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bytes, JobError, JobId, Notes, Stamps, WorkerId};

/// How a job ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The kernel succeeded.
    Ok,
    /// The kernel returned an error, panicked or ran into a limit; the job's bytes could not be
    /// read or transferred; or the machine had no memory for it.
    Failed,
    /// The worker process died with the job in hand, on every attempt.
    Crashed,
    /// The job exceeded its timeout, in its kernel or while its inputs were read.
    TimedOut,
    /// The job was cancelled, or the pool stopped before the job ended.
    Cancelled,
}

impl Status {
    /// The name used in every output format: `ok`, `failed`, `crashed`,
    /// `timed-out`, `cancelled`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of one job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The job's id.
    pub id: JobId,
    /// The output buffers, or why there are none.
    pub result: Result<Vec<Bytes>, JobError>,
    /// The instants of the last attempt. `submitted` is that of the first attempt, so the queue
    /// span includes all earlier attempts.
    pub stamps: Stamps,
    /// The slot that the job ran in. `None` if the job never left the queue, or was cancelled
    /// before its worker began it.
    pub worker: Option<WorkerId>,
    /// Process id of the worker; 0 where `worker` is `None`.
    pub pid: u32,
    /// Number of attempts. An attempt whose worker died before it began the job, or that found no
    /// memory, does not count.
    pub attempts: u32,
    /// Total size of the inputs, in bytes. May be 0 if the job did not succeed.
    pub bytes_in: u64,
    /// BLAKE3 of each input that is a file, in the order of the inputs, of the bytes that the
    /// kernel was given. `None` if [`JobSpec::digest_inputs`](crate::JobSpec::digest_inputs) did
    /// not ask for it, and possibly if no file was read. Files that were not read are missing.
    pub input_digests: Option<Box<[[u8; 32]]>>,
    /// Remarks of the kernel on a result that is right but incomplete. Empty if the job failed.
    pub notes: Notes,
}

impl Outcome {
    /// How the job ended.
    pub fn status(&self) -> Status {
        self.result.as_ref().map_or_else(JobError::status, |_| Status::Ok)
    }

    /// Total size of the outputs, in bytes.
    pub fn bytes_out(&self) -> u64 {
        self.result.iter().flatten().map(|output| output.len() as u64).sum()
    }
}
