use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bytes, JobError, JobId, Notes, Stamps, WorkerId};

/// How a job ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The kernel succeeded.
    Ok,
    /// The kernel returned an error, panicked or ran into a limit, or the job's
    /// bytes could not be read.
    Failed,
    /// Every worker process that it was given to died.
    Crashed,
    /// It ran for longer than its timeout.
    TimedOut,
    /// It was cancelled, or the pool stopped first.
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
    /// The job.
    pub id: JobId,
    /// The output buffers, or why there are none.
    pub result: Result<Vec<Bytes>, JobError>,
    /// The instants of its last attempt. `submitted` is that of the first, so
    /// the queue span holds all earlier attempts.
    pub stamps: Stamps,
    /// The lane it ran in; `None` if it never left the queue.
    pub worker: Option<WorkerId>,
    /// The process it ran in; 0 if it never left the queue.
    pub pid: u32,
    /// How many workers it was given to.
    pub attempts: u32,
    /// Bytes of all inputs.
    pub bytes_in: u64,
    /// If it was asked for ([`JobSpec::digest_inputs`](crate::JobSpec::digest_inputs)) and all were
    /// read: BLAKE3 of each input that is a file, in their order, of the bytes that the kernel was
    /// given.
    pub input_digests: Option<Box<[[u8; 32]]>>,
    /// What its kernel remarked on a result that is right but not everything; none if it failed.
    pub notes: Notes,
}

impl Outcome {
    /// How the job ended.
    pub fn status(&self) -> Status {
        self.result.as_ref().map_or_else(JobError::status, |_| Status::Ok)
    }

    /// Bytes of all outputs.
    pub fn bytes_out(&self) -> u64 {
        self.result.iter().flatten().map(|output| output.len() as u64).sum()
    }
}
