//! The messages between coordinator and worker, and their encoding: bincode,
//! bounded before anything is allocated.

use std::sync::Arc;
use std::time::Duration;

use bincode::config::{Configuration, Limit};
use brigade_proto::{JobError, JobId, Nanos, Params, limits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

type Config =
    Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<MAX_HEAD>>;

const MAX_HEAD: usize = limits::MAX_HEAD_BYTES;
const CONFIG: Config = bincode::config::standard().with_limit::<MAX_HEAD>();

/// A message that cannot be encoded or decoded.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CodecError(String);

/// Encodes a message.
///
/// # Errors
/// When it is longer than [`limits::MAX_HEAD_BYTES`].
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
/// When the bytes are no such message.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, CodecError> {
    let (message, used) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|error| CodecError(format!("cannot decode a message: {error}")))?;
    if used != bytes.len() {
        return Err(CodecError(format!("a message has {} bytes too many", bytes.len() - used)));
    }
    Ok(message)
}

/// A job for a worker. Its inputs are the message's payloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the reply.
    pub job: JobId,
    /// Place of the kernel in the registry.
    pub kernel: u32,
    /// Complete and validated.
    #[serde(serialize_with = "through", deserialize_with = "shared")]
    pub params: Arc<Params>,
    /// How long the kernel may run.
    pub timeout: Option<Duration>,
    /// Large outputs are to come in shared memory.
    pub shared: bool,
}

fn through<S: serde::Serializer>(params: &Arc<Params>, serializer: S) -> Result<S::Ok, S::Error> {
    params.as_ref().serialize(serializer)
}

fn shared<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<Params>, D::Error> {
    Params::deserialize(deserializer).map(Arc::new)
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// A job has ended. Its outputs are the message's payloads.
    Done {
        /// The job.
        job: JobId,
        /// Why it failed, if it did.
        error: Option<JobError>,
        /// The worker has the job in hand.
        in_hand: Nanos,
        /// The kernel was called.
        called: Nanos,
        /// The kernel returned.
        returned: Nanos,
        /// Just before this message was sent.
        published: Nanos,
    },
    /// A log record, sent before the reply to the job that it belongs to.
    Log(LogRecord),
}

/// An event that a worker logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogRecord {
    /// 1 (error) to 5 (trace).
    pub level: u8,
    /// The module that logged it.
    pub target: String,
    /// Message and fields.
    pub text: String,
    /// The job in hand.
    pub job: Option<JobId>,
    /// When.
    pub at: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        let request = Request {
            job: JobId(7),
            kernel: 3,
            params: Arc::new([("sigma", 2.0)].into_iter().collect()),
            timeout: Some(Duration::from_millis(5)),
            shared: true,
        };
        let back: Request = decode(&encode(&request).unwrap()).unwrap();
        assert_eq!((back.job, back.params), (request.job, request.params));
    }

    #[test]
    fn claims_beyond_the_limit_are_refused_before_they_are_allocated() {
        // A string that says it is 2^60 bytes long.
        let mut bytes = vec![253];
        bytes.extend((1_u64 << 60).to_le_bytes());
        assert!(decode::<String>(&bytes).is_err());
        assert!(encode(&"x".repeat(MAX_HEAD + 1)).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&1_u32).unwrap();
        bytes.push(0);
        assert!(decode::<u32>(&bytes).is_err());
    }
}
