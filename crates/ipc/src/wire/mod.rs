//! The messages between coordinator and worker, and their encoding: bincode, with limits that are
//! checked before anything is allocated.

mod descriptor;

use std::sync::Arc;
use std::time::Duration;

use bincode::config::{Configuration, Limit};
use brigade_proto::{JobError, JobId, Nanos, Notes, Params, limits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

type BincodeConfig =
    Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<MAX_HEAD>>;

const MAX_HEAD: usize = limits::MAX_HEAD_BYTES;
const CONFIG: BincodeConfig = bincode::config::standard().with_limit::<MAX_HEAD>();

pub use descriptor::{decode_request, decode_response, encode_request, encode_response};

/// A message that cannot be encoded or decoded.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CodecError(String);

/// Encodes a message.
///
/// # Errors
/// When the message is longer than [`limits::MAX_HEAD_BYTES`], or cannot be encoded at all.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(message, CONFIG)
        .map_err(|error| CodecError(format!("cannot encode a message: {error}")))?;
    if bytes.len() > MAX_HEAD {
        return Err(CodecError(format!("a message of {} bytes is too long", bytes.len())));
    }
    Ok(bytes)
}

/// Decodes a message that is exactly `bytes`.
///
/// # Errors
/// When the bytes are not such a message.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, CodecError> {
    let (message, used) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|error| CodecError(format!("cannot decode a message: {error}")))?;
    if used != bytes.len() {
        return Err(CodecError(format!("a message has {} bytes too many", bytes.len() - used)));
    }
    Ok(message)
}

/// Encodes a message into `buffer`; returns its length, or `None` if it is longer.
///
/// # Errors
/// When the message cannot be encoded at all.
fn encode_into<M: Serialize>(message: &M, buffer: &mut [u8]) -> Result<Option<usize>, CodecError> {
    match bincode::serde::encode_into_slice(message, buffer, CONFIG) {
        Ok(len) => Ok(Some(len)),
        Err(bincode::error::EncodeError::UnexpectedEnd) => Ok(None),
        Err(error) => Err(CodecError(format!("cannot encode a message: {error}"))),
    }
}

/// What the coordinator sends over the control channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ControlMessage {
    /// A job. Its inputs are the message's payloads.
    Job(MessageRequest),
    /// One more region for inputs. It is the message's payload.
    Inputs {
        /// The number by which requests name the region.
        region: u32,
    },
    /// The response to [`MessageResponse::NeedRegion`]: a region for outputs as the payload; no
    /// payload if the coordinator has none to give.
    Outputs,
}

/// What the coordinator puts into a worker's ring of requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RingRequest {
    /// A job whose inputs are in this message or in the arena.
    Job {
        /// The response repeats it.
        job: JobId,
        /// Index of the kernel in the registry.
        kernel: u32,
        /// Complete and validated.
        #[serde(serialize_with = "through", deserialize_with = "shared")]
        params: Arc<Params>,
        /// How long the kernel may run.
        timeout: Option<Duration>,
        /// Where the inputs are.
        inputs: Vec<PayloadLocation>,
        /// Output slabs that the coordinator no longer uses.
        returned: Vec<u32>,
    },
    /// Many small jobs, one after another.
    Batch {
        /// Id of the first job; the others have those that follow.
        first: JobId,
        /// Number of jobs.
        count: u32,
        /// An encoded [`BatchBody`].
        runs: PayloadLocation,
        /// Output slabs that the coordinator no longer uses.
        returned: Vec<u32>,
    },
    /// The next job comes over the control channel.
    ControlMessage,
    /// Regions for inputs that the coordinator no longer uses; the worker unmaps them.
    Forget {
        /// Numbers of the regions.
        regions: Vec<u32>,
    },
    /// No more requests will come: the worker exits.
    Leave,
}

/// The contents of a batch: its jobs, and output slabs that the coordinator no longer uses and that
/// do not fit the request. They can be many: as many jobs as a batch has can have given slabs back
/// since the last batch.
pub type BatchBody = (Vec<BatchRun>, Vec<u32>);

/// Jobs of a batch that have kernel and parameters in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchRun {
    /// Index of the kernel in the registry.
    pub kernel: u32,
    /// Complete and validated.
    #[serde(serialize_with = "through", deserialize_with = "shared")]
    pub params: Arc<Params>,
    /// Number of jobs.
    pub count: u32,
    /// The inputs of each job; empty if no job has inputs.
    pub inputs: Vec<Vec<serde_bytes::ByteBuf>>,
}

/// What a worker reports about the jobs of a batch that failed or have outputs or notes, with their
/// indices in the batch. In the response's only output it follows the instants at which the kernels
/// returned, eight little-endian bytes each; [`NOT_RUN`] for those at the end that were not run.
pub type BatchOthers = Vec<(u32, Notes, Result<Vec<PayloadLocation>, JobError>)>;

/// Takes the place of the instant at which a job's kernel returned. It marks a job that the worker
/// did not run, or whose result it discarded, because room for outputs or memory was lacking for
/// this job or for one before it.
pub const NOT_RUN: Nanos = Nanos::MAX;

/// Counts the jobs of a batch that were run, by the instants at which their kernels returned.
pub fn jobs_run(instants: &[u8]) -> usize {
    let (instants, _) = instants.as_chunks();
    let is_run = |instant: &[u8; 8]| u64::from_le_bytes(*instant) != NOT_RUN;
    match instants.last() {
        Some(last) if !is_run(last) => instants.iter().position(|i| !is_run(i)).unwrap_or(0),
        _ => instants.len(),
    }
}

/// Encodes a message that may be longer than a message's head.
///
/// # Errors
/// When the message cannot be encoded at all.
pub fn encode_bulk<M: Serialize>(message: &M) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(message, bincode::config::standard())
        .map_err(|error| CodecError(format!("cannot encode a message: {error}")))
}

/// Decodes what [`encode_bulk`] returned. The length of `bytes` bounds what is allocated: no
/// element takes less than a byte.
///
/// # Errors
/// When the bytes are not such a message.
pub fn decode_bulk<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, CodecError> {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map(|(message, _)| message)
        .map_err(|error| CodecError(format!("cannot decode a message: {error}")))
}

/// Decodes [`BatchOthers`] with at most `most` entries. Each entry is bounded as a message's head
/// is: a list of empty locations takes twenty times as much memory as it has bytes.
///
/// # Errors
/// When the bytes are not such a list, or it has more than `most` entries.
pub fn decode_others(bytes: &[u8], most: usize) -> Result<BatchOthers, CodecError> {
    fn next<M: DeserializeOwned>(rest: &mut &[u8]) -> Result<M, CodecError> {
        let (message, used) = bincode::serde::decode_from_slice(rest, CONFIG)
            .map_err(|error| CodecError(format!("cannot decode a chunk's end: {error}")))?;
        *rest = rest.get(used..).unwrap_or_default();
        Ok(message)
    }
    let mut rest = bytes;
    let count: u64 = next(&mut rest)?;
    if count > most as u64 {
        return Err(CodecError(format!("a chunk of {most} jobs has {count} ends")));
    }
    let others = (0..count).map(|_| next(&mut rest)).collect::<Result<_, _>>()?;
    match rest.len() {
        0 => Ok(others),
        more => Err(CodecError(format!("a chunk's end has {more} bytes too many"))),
    }
}

/// Where the bytes of an input or output are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadLocation {
    /// In this message.
    Here(#[serde(with = "serde_bytes")] serde_bytes::ByteBuf),
    /// In a slab.
    Slab {
        /// The region: its number for an input, its index among the worker's regions for an output.
        region: u32,
        /// Where the slab starts in its region, in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// Number of the worker's output; 0 for an input.
        slab: u32,
    },
}

/// What a worker puts into its ring of responses, after the [`Instants`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RingResponse {
    /// The job that has ended.
    pub job: JobId,
    /// Why the job failed, if it did.
    pub error: Option<JobError>,
    /// What the kernel remarked on its result.
    pub notes: Notes,
    /// Where the outputs are.
    pub outputs: Vec<PayloadLocation>,
}

/// The instants of a job that its worker knows. They are the first bytes of a response, so the
/// worker can fill in the last instant after it has encoded the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instants {
    /// The worker took the job in hand.
    pub in_hand: Nanos,
    /// The kernel was called.
    pub called: Nanos,
    /// The kernel returned.
    pub returned: Nanos,
    /// Just before the worker published the response.
    pub published: Nanos,
}

impl Instants {
    /// Bytes of the encoded instants.
    pub const BYTES: usize = 32;

    /// Writes the instants into the first bytes of a response.
    pub fn write(self, response: &mut [u8; Self::BYTES]) {
        let instants = [self.in_hand, self.called, self.returned, self.published];
        for (bytes, instant) in response.as_chunks_mut().0.iter_mut().zip(instants) {
            *bytes = instant.to_le_bytes();
        }
    }

    /// Reads the instants from the first bytes of a response.
    pub fn read(response: &[u8; Self::BYTES]) -> Self {
        let (instants, _) = response.as_chunks();
        let instant = |i: usize| u64::from_le_bytes(instants[i]);
        Self {
            in_hand: instant(0),
            called: instant(1),
            returned: instant(2),
            published: instant(3),
        }
    }
}

/// A job for a worker, over the control channel. Its inputs are the message's payloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MessageRequest {
    /// The response repeats it.
    pub job: JobId,
    /// Index of the kernel in the registry.
    pub kernel: u32,
    /// Complete and validated.
    #[serde(serialize_with = "through", deserialize_with = "shared")]
    pub params: Arc<Params>,
    /// How long the kernel may run.
    pub timeout: Option<Duration>,
    /// Whether large outputs should come in shared memory.
    pub shared: bool,
}

fn through<S: serde::Serializer>(params: &Arc<Params>, serializer: S) -> Result<S::Ok, S::Error> {
    params.as_ref().serialize(serializer)
}

fn shared<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<Params>, D::Error> {
    Params::deserialize(deserializer).map(Arc::new)
}

/// What a worker sends over the control channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MessageResponse {
    /// A job has ended. Its outputs are the message's payloads.
    Done {
        /// The job that has ended.
        job: JobId,
        /// Why the job failed, if it did.
        error: Option<JobError>,
        /// What the kernel remarked on its result.
        notes: Notes,
        /// The worker took the job in hand.
        in_hand: Nanos,
        /// The kernel was called.
        called: Nanos,
        /// The kernel returned.
        returned: Nanos,
        /// Just before the worker sent this message.
        published: Nanos,
    },
    /// The worker has no room left for an output of this size, and waits for
    /// [`ControlMessage::Outputs`].
    NeedRegion {
        /// Size of the output in bytes.
        bytes: u64,
    },
    /// The worker holds so much memory that it should be replaced. It begins no other job, and
    /// waits until the supervisor ends it.
    Outgrown,
    /// A log record, sent before the response to the job that it belongs to.
    Log(LogRecord),
}

/// An event that a worker logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogRecord {
    /// 1 (error) to 5 (trace).
    pub level: u8,
    /// The module that logged the event.
    pub target: String,
    /// Message and fields.
    pub text: String,
    /// The job that the worker had in hand.
    pub job: Option<JobId>,
    /// When the worker logged the event.
    pub at: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        let request = MessageRequest {
            job: JobId(7),
            kernel: 3,
            params: Arc::new([("sigma", 2.0)].into_iter().collect()),
            timeout: Some(Duration::from_millis(5)),
            shared: true,
        };
        let back: MessageRequest = decode(&encode(&request).unwrap()).unwrap();
        assert_eq!((back.job, back.params), (request.job, request.params));
    }

    #[test]
    fn instants_read_back_and_a_message_that_does_not_fit_says_so() {
        let instants = Instants { in_hand: 1, called: 2, returned: 3, published: u64::MAX };
        let mut bytes = [0; Instants::BYTES];
        instants.write(&mut bytes);
        assert_eq!(Instants::read(&bytes), instants);
        let response = RingResponse {
            job: JobId(1),
            error: None,
            notes: Notes::default(),
            outputs: vec![PayloadLocation::Slab { region: 1, offset: 2, len: 3, slab: 4 }],
        };
        let mut buffer = [0; 100];
        let len = encode_into(&response, &mut buffer).unwrap().unwrap();
        assert_eq!(decode::<RingResponse>(&buffer[..len]).unwrap().outputs, response.outputs);
        assert_eq!(encode_into(&response, &mut buffer[..len - 1]).unwrap(), None);
    }

    #[test]
    fn claims_beyond_the_limit_are_refused_before_they_are_allocated() {
        // A string that claims to be 2^60 bytes long.
        let mut bytes = vec![253];
        bytes.extend((1_u64 << 60).to_le_bytes());
        assert!(decode::<String>(&bytes).is_err());
        assert!(encode(&"x".repeat(MAX_HEAD + 1)).is_err());
    }

    #[test]
    fn ends_of_a_chunk_read_back_and_are_bounded() {
        let error = JobError::Kernel { message: "no".to_owned() };
        let others: BatchOthers = vec![
            (3, Notes::from_bits(1), Ok(vec![PayloadLocation::Here(b"x".to_vec().into())])),
            (300, Notes::default(), Err(error)),
        ];
        let bytes = encode_bulk(&others).unwrap();
        assert_eq!(decode_others(&bytes, 2).unwrap(), others);
        assert!(decode_others(&bytes, 1).is_err());
        assert!(decode_others(&bytes[..bytes.len() - 1], 2).is_err());
        assert!(decode_others(&[&bytes[..], &[0]].concat(), 2).is_err());
        // One job with a million empty outputs.
        let many: BatchOthers = vec![(
            0,
            Notes::default(),
            Ok(vec![PayloadLocation::Here(serde_bytes::ByteBuf::new()); 1 << 20]),
        )];
        assert!(decode_others(&encode_bulk(&many).unwrap(), 2).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&1_u32).unwrap();
        bytes.push(0);
        assert!(decode::<u32>(&bytes).is_err());
    }
}
