//! Requests and responses as they are encoded in a slot of a ring.
//!
//! Most requests are a job with at most a few inputs in slabs, and most responses are its end
//! without an error. Those have a layout of fixed fields, for two reasons. After a rest, what
//! counts is how much code a job touches. Under load, the layout takes half the time of bincode.
//! Everything else is bincode behind a tag.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use brigade_proto::{JobId, Notes, Params};

use super::{CodecError, PayloadLocation, RingRequest, RingResponse};

/// First byte: bincode follows.
const ANY: u8 = 0;
/// First byte: fixed fields follow.
const PLAIN: u8 = 1;
/// Bytes before the locations: tag, number of locations, number of returned slabs, a zero byte,
/// kernel, job, time limit.
const HEAD: usize = 24;
/// Bytes of a location: region, slab, offset, length.
const LOCATION: usize = 24;

static NO_PARAMS: LazyLock<Arc<Params>> = LazyLock::new(Arc::default);

/// Encodes a request; returns its length, or `None` if it is longer than the buffer.
///
/// # Errors
/// When the request cannot be encoded at all.
pub fn encode_request(
    request: &RingRequest,
    buffer: &mut [u8],
) -> Result<Option<usize>, CodecError> {
    if let RingRequest::Job { job, kernel, params, timeout, inputs, returned } = request
        && params.is_empty()
        && let Some(timeout) = nanos(*timeout)
        && let (Ok(locations), Ok(slabs)) =
            (u8::try_from(inputs.len()), u8::try_from(returned.len()))
        && let Some((head, body)) = buffer.split_at_mut_checked(HEAD)
        && let Some(used) = write_locations(inputs, body)
        && let Some(ids) = body[used..].get_mut(..4 * returned.len())
    {
        head[..4].copy_from_slice(&[PLAIN, locations, slabs, 0]);
        head[4..8].copy_from_slice(&kernel.to_le_bytes());
        head[8..16].copy_from_slice(&job.0.to_le_bytes());
        head[16..24].copy_from_slice(&timeout.to_le_bytes());
        for (bytes, id) in ids.as_chunks_mut().0.iter_mut().zip(returned) {
            *bytes = id.to_le_bytes();
        }
        return Ok(Some(HEAD + used + 4 * returned.len()));
    }
    any(request, buffer)
}

/// Decodes a request.
///
/// # Errors
/// When the bytes are not a request.
pub fn decode_request(bytes: &[u8]) -> Result<RingRequest, CodecError> {
    match bytes {
        [PLAIN, locations, slabs, 0, ..] => {
            plain_request(bytes, *locations, *slabs).ok_or_else(|| nonsense("a request"))
        }
        [ANY, rest @ ..] => decode_any(rest),
        _ => Err(nonsense("a request")),
    }
}

fn plain_request(bytes: &[u8], locations: u8, slabs: u8) -> Option<RingRequest> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (inputs, ids) = read_locations(usize::from(locations), body)?;
    let (ids, rest) = ids.as_chunks();
    if ids.len() != usize::from(slabs) || !rest.is_empty() {
        return None;
    }
    let timeout = u64_at(head, 16)?;
    Some(RingRequest::Job {
        job: JobId(u64_at(head, 8)?),
        kernel: u32_at(head, 4)?,
        params: Arc::clone(&NO_PARAMS),
        timeout: (timeout != u64::MAX).then(|| Duration::from_nanos(timeout)),
        inputs,
        returned: ids.iter().map(|id| u32::from_le_bytes(*id)).collect(),
    })
}

/// Encodes a response; returns its length, or `None` if it is longer than the buffer.
///
/// # Errors
/// When the response cannot be encoded at all.
pub fn encode_response(
    response: &RingResponse,
    buffer: &mut [u8],
) -> Result<Option<usize>, CodecError> {
    let RingResponse { job, error, notes, outputs } = response;
    if error.is_none()
        && let Ok(locations) = u8::try_from(outputs.len())
        && let Some((head, body)) = buffer.split_at_mut_checked(16)
        && let Some(used) = write_locations(outputs, body)
    {
        head[..4].copy_from_slice(&[PLAIN, locations, 0, 0]);
        head[4..8].copy_from_slice(&notes.bits().to_le_bytes());
        head[8..].copy_from_slice(&job.0.to_le_bytes());
        return Ok(Some(16 + used));
    }
    any(response, buffer)
}

/// Decodes a response.
///
/// # Errors
/// When the bytes are not a response.
pub fn decode_response(bytes: &[u8]) -> Result<RingResponse, CodecError> {
    let plain = |locations: u8| {
        let (outputs, rest) = read_locations(usize::from(locations), bytes.get(16..)?)?;
        let job = JobId(u64_at(bytes, 8)?);
        let notes = Notes::from_bits(u32_at(bytes, 4)?);
        rest.is_empty().then_some(RingResponse { job, error: None, notes, outputs })
    };
    match bytes {
        [PLAIN, locations, 0, 0, ..] => plain(*locations).ok_or_else(|| nonsense("a response")),
        [ANY, rest @ ..] => decode_any(rest),
        _ => Err(nonsense("a response")),
    }
}

#[cold]
fn any<M: serde::Serialize>(message: &M, buffer: &mut [u8]) -> Result<Option<usize>, CodecError> {
    let Some((tag, rest)) = buffer.split_first_mut() else {
        return Ok(None);
    };
    *tag = ANY;
    Ok(super::encode_into(message, rest)?.map(|len| len + 1))
}

#[cold]
fn decode_any<M: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<M, CodecError> {
    super::decode(bytes)
}

#[cold]
fn nonsense(what: &str) -> CodecError {
    CodecError(format!("cannot decode {what}"))
}

/// Encodes a timeout; the largest number means no timeout. `None` if the timeout does not fit.
fn nanos(timeout: Option<Duration>) -> Option<u64> {
    match timeout {
        None => Some(u64::MAX),
        Some(timeout) => u64::try_from(timeout.as_nanos()).ok().filter(|&ns| ns != u64::MAX),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns the bytes used; `None` if a location is not in a slab, or the locations do not fit.
fn write_locations(locations: &[PayloadLocation], buffer: &mut [u8]) -> Option<usize> {
    let bytes = buffer.get_mut(..locations.len() * LOCATION)?;
    for (bytes, location) in bytes.as_chunks_mut::<LOCATION>().0.iter_mut().zip(locations) {
        let PayloadLocation::Slab { region, offset, len, slab } = location else {
            return None;
        };
        bytes[..4].copy_from_slice(&region.to_le_bytes());
        bytes[4..8].copy_from_slice(&slab.to_le_bytes());
        bytes[8..16].copy_from_slice(&offset.to_le_bytes());
        bytes[16..].copy_from_slice(&len.to_le_bytes());
    }
    Some(locations.len() * LOCATION)
}

fn read_locations(count: usize, bytes: &[u8]) -> Option<(Vec<PayloadLocation>, &[u8])> {
    let (locations, rest) = bytes.split_at_checked(count * LOCATION)?;
    let location = |bytes: &[u8; LOCATION]| {
        Some(PayloadLocation::Slab {
            region: u32_at(bytes, 0)?,
            slab: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            len: u64_at(bytes, 16)?,
        })
    };
    let locations: Option<Vec<PayloadLocation>> =
        locations.as_chunks().0.iter().map(location).collect();
    Some((locations?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_proto::JobError;
    use proptest::prelude::*;

    fn location() -> impl Strategy<Value = PayloadLocation> {
        prop_oneof![
            4 => any::<(u32, u64, u64, u32)>().prop_map(|(region, offset, len, slab)| {
                PayloadLocation::Slab { region, offset, len, slab }
            }),
            1 => prop::collection::vec(any::<u8>(), 0..20)
                .prop_map(|bytes| PayloadLocation::Here(bytes.into())),
        ]
    }

    fn any<T: Arbitrary>() -> T::Strategy {
        proptest::arbitrary::any::<T>()
    }

    proptest! {
        #[test]
        fn requests_read_back(
            job: u64,
            kernel: u32,
            ns in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
            sigma: Option<i64>,
            inputs in prop::collection::vec(location(), 0..5),
            returned in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let params: Params = sigma.into_iter().map(|sigma| ("sigma", sigma)).collect();
            let request = RingRequest::Job {
                job: JobId(job),
                kernel,
                params: Arc::new(params),
                timeout: ns.map(Duration::from_nanos),
                inputs,
                returned,
            };
            let mut buffer = [0; 600];
            let len = encode_request(&request, &mut buffer).unwrap().unwrap();
            let back = decode_request(&buffer[..len]).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{request:?}"));
            prop_assert!(encode_request(&request, &mut buffer[..4]).unwrap().is_none());
        }

        #[test]
        fn responses_read_back(
            job: u64,
            cancelled: bool,
            notes: u32,
            outputs in prop::collection::vec(location(), 0..5),
        ) {
            let error = cancelled.then_some(JobError::Cancelled);
            let notes = Notes::from_bits(notes);
            let response = RingResponse { job: JobId(job), error, notes, outputs };
            let mut buffer = [0; 300];
            let len = encode_response(&response, &mut buffer).unwrap().unwrap();
            let back = decode_response(&buffer[..len]).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{response:?}"));
        }

        #[test]
        fn nonsense_is_an_error_or_a_message(mut bytes: Vec<u8>, tag in 0..3_u8) {
            if let Some(first) = bytes.first_mut() {
                *first = tag;
            }
            let _ = decode_request(&bytes);
            if let Ok(response) = decode_response(&bytes) {
                let mut buffer = vec![0; bytes.len() + 300];
                prop_assert!(encode_response(&response, &mut buffer).unwrap().is_some());
            }
        }
    }
}
