//! Orders and answers as they are encoded in a slot of a ring.
//!
//! Most orders are a job with at most a few inputs in slabs, and most answers are its end without
//! an error. Those have a layout of fixed fields, for two reasons. After a rest, what counts is how
//! much code a job touches. Under load, the layout takes half the time of bincode. Everything else
//! is bincode behind a tag.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use brigade_proto::{JobId, Notes, Params};

use super::{Answer, CodecError, Order, Place};

/// First byte: bincode follows.
const ANY: u8 = 0;
/// First byte: fixed fields follow.
const PLAIN: u8 = 1;
/// Bytes before the places: tag, number of places, number of returned slabs, a zero byte, kernel,
/// job, time limit.
const HEAD: usize = 24;
/// Bytes of a place: region, slab, offset, length.
const PLACE: usize = 24;

static NO_PARAMS: LazyLock<Arc<Params>> = LazyLock::new(Arc::default);

/// Encodes an order; returns its length, or `None` if it is longer than the buffer.
///
/// # Errors
/// When the order cannot be encoded at all.
pub fn encode_order(order: &Order, buffer: &mut [u8]) -> Result<Option<usize>, CodecError> {
    if let Order::Job { job, kernel, params, timeout, inputs, returned } = order
        && params.is_empty()
        && let Some(timeout) = nanos(*timeout)
        && let (Ok(places), Ok(slabs)) = (u8::try_from(inputs.len()), u8::try_from(returned.len()))
        && let Some((head, body)) = buffer.split_at_mut_checked(HEAD)
        && let Some(used) = write_places(inputs, body)
        && let Some(ids) = body[used..].get_mut(..4 * returned.len())
    {
        head[..4].copy_from_slice(&[PLAIN, places, slabs, 0]);
        head[4..8].copy_from_slice(&kernel.to_le_bytes());
        head[8..16].copy_from_slice(&job.0.to_le_bytes());
        head[16..24].copy_from_slice(&timeout.to_le_bytes());
        for (bytes, id) in ids.as_chunks_mut().0.iter_mut().zip(returned) {
            *bytes = id.to_le_bytes();
        }
        return Ok(Some(HEAD + used + 4 * returned.len()));
    }
    any(order, buffer)
}

/// Decodes an order.
///
/// # Errors
/// When the bytes are not an order.
pub fn decode_order(bytes: &[u8]) -> Result<Order, CodecError> {
    match bytes {
        [PLAIN, places, slabs, 0, ..] => {
            plain_order(bytes, *places, *slabs).ok_or_else(|| nonsense("an order"))
        }
        [ANY, rest @ ..] => decode_any(rest),
        _ => Err(nonsense("an order")),
    }
}

fn plain_order(bytes: &[u8], places: u8, slabs: u8) -> Option<Order> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (inputs, ids) = read_places(usize::from(places), body)?;
    let (ids, rest) = ids.as_chunks();
    if ids.len() != usize::from(slabs) || !rest.is_empty() {
        return None;
    }
    let timeout = u64_at(head, 16)?;
    Some(Order::Job {
        job: JobId(u64_at(head, 8)?),
        kernel: u32_at(head, 4)?,
        params: Arc::clone(&NO_PARAMS),
        timeout: (timeout != u64::MAX).then(|| Duration::from_nanos(timeout)),
        inputs,
        returned: ids.iter().map(|id| u32::from_le_bytes(*id)).collect(),
    })
}

/// Encodes an answer; returns its length, or `None` if it is longer than the buffer.
///
/// # Errors
/// When the answer cannot be encoded at all.
pub fn encode_answer(answer: &Answer, buffer: &mut [u8]) -> Result<Option<usize>, CodecError> {
    let Answer { job, error, notes, outputs } = answer;
    if error.is_none()
        && let Ok(places) = u8::try_from(outputs.len())
        && let Some((head, body)) = buffer.split_at_mut_checked(16)
        && let Some(used) = write_places(outputs, body)
    {
        head[..4].copy_from_slice(&[PLAIN, places, 0, 0]);
        head[4..8].copy_from_slice(&notes.bits().to_le_bytes());
        head[8..].copy_from_slice(&job.0.to_le_bytes());
        return Ok(Some(16 + used));
    }
    any(answer, buffer)
}

/// Decodes an answer.
///
/// # Errors
/// When the bytes are not an answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, CodecError> {
    let plain = |places: u8| {
        let (outputs, rest) = read_places(usize::from(places), bytes.get(16..)?)?;
        let job = JobId(u64_at(bytes, 8)?);
        let notes = Notes::from_bits(u32_at(bytes, 4)?);
        rest.is_empty().then_some(Answer { job, error: None, notes, outputs })
    };
    match bytes {
        [PLAIN, places, 0, 0, ..] => plain(*places).ok_or_else(|| nonsense("an answer")),
        [ANY, rest @ ..] => decode_any(rest),
        _ => Err(nonsense("an answer")),
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

/// Returns the bytes used; `None` if a place is not in a slab, or the places do not fit.
fn write_places(places: &[Place], buffer: &mut [u8]) -> Option<usize> {
    let bytes = buffer.get_mut(..places.len() * PLACE)?;
    for (bytes, place) in bytes.as_chunks_mut::<PLACE>().0.iter_mut().zip(places) {
        let Place::Slab { region, offset, len, slab } = place else {
            return None;
        };
        bytes[..4].copy_from_slice(&region.to_le_bytes());
        bytes[4..8].copy_from_slice(&slab.to_le_bytes());
        bytes[8..16].copy_from_slice(&offset.to_le_bytes());
        bytes[16..].copy_from_slice(&len.to_le_bytes());
    }
    Some(places.len() * PLACE)
}

fn read_places(count: usize, bytes: &[u8]) -> Option<(Vec<Place>, &[u8])> {
    let (places, rest) = bytes.split_at_checked(count * PLACE)?;
    let place = |bytes: &[u8; PLACE]| {
        Some(Place::Slab {
            region: u32_at(bytes, 0)?,
            slab: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            len: u64_at(bytes, 16)?,
        })
    };
    let places: Option<Vec<Place>> = places.as_chunks().0.iter().map(place).collect();
    Some((places?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_proto::JobError;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = Place> {
        prop_oneof![
            4 => any::<(u32, u64, u64, u32)>()
                .prop_map(|(region, offset, len, slab)| Place::Slab { region, offset, len, slab }),
            1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Place::Here(bytes.into())),
        ]
    }

    fn any<T: Arbitrary>() -> T::Strategy {
        proptest::arbitrary::any::<T>()
    }

    proptest! {
        #[test]
        fn orders_read_back(
            job: u64,
            kernel: u32,
            ns in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
            sigma: Option<i64>,
            inputs in prop::collection::vec(place(), 0..5),
            returned in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let params: Params = sigma.into_iter().map(|sigma| ("sigma", sigma)).collect();
            let order = Order::Job {
                job: JobId(job),
                kernel,
                params: Arc::new(params),
                timeout: ns.map(Duration::from_nanos),
                inputs,
                returned,
            };
            let mut buffer = [0; 600];
            let len = encode_order(&order, &mut buffer).unwrap().unwrap();
            let back = decode_order(&buffer[..len]).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{order:?}"));
            prop_assert!(encode_order(&order, &mut buffer[..4]).unwrap().is_none());
        }

        #[test]
        fn answers_read_back(
            job: u64,
            cancelled: bool,
            notes: u32,
            outputs in prop::collection::vec(place(), 0..5),
        ) {
            let error = cancelled.then_some(JobError::Cancelled);
            let notes = Notes::from_bits(notes);
            let answer = Answer { job: JobId(job), error, notes, outputs };
            let mut buffer = [0; 300];
            let len = encode_answer(&answer, &mut buffer).unwrap().unwrap();
            let back = decode_answer(&buffer[..len]).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{answer:?}"));
        }

        #[test]
        fn nonsense_is_an_error_or_a_message(mut bytes: Vec<u8>, tag in 0..3_u8) {
            if let Some(first) = bytes.first_mut() {
                *first = tag;
            }
            let _ = decode_order(&bytes);
            if let Ok(answer) = decode_answer(&bytes) {
                let mut buffer = vec![0; bytes.len() + 300];
                prop_assert!(encode_answer(&answer, &mut buffer).unwrap().is_some());
            }
        }
    }
}
