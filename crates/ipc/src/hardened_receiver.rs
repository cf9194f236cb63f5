//! The coordinator's receiving end of a worker's control channel. See [`packet`](crate::packet) for
//! why it does not use ipc-channel's receiver.
//!
//! It reads payloads in shared memory like a file and does not map them: a worker that shortens its
//! region under a mapping would kill this process with SIGBUS.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use brigade_proto::{Buffer, limits};
use brigade_sys::{shortage, socket};
use serde::de::DeserializeOwned;

use crate::channel_error::RecvError;
use crate::envelope::{Carrier, Head};
use crate::packet_reader::{PacketReader, garbled, has_bytes};
use crate::receive_budget::{ReceiveBudget, Reservation};
use crate::wire;

/// The coordinator's receiving end of a channel.
#[derive(Debug)]
pub struct HardenedReceiver {
    packets: PacketReader,
    /// Shared by all receivers of this process.
    budget: Arc<ReceiveBudget>,
}

impl HardenedReceiver {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self::with(socket, ReceiveBudget::of_process())
    }

    fn with(socket: Arc<OwnedFd>, budget: Arc<ReceiveBudget>) -> Self {
        Self { packets: PacketReader::new(socket), budget }
    }

    /// Waits for a message and its payloads. Checks sizes before it allocates anything: payloads in
    /// transit, from all workers together, take at most half of the memory that this process may
    /// use.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv<M: DeserializeOwned>(&mut self) -> Result<(M, Vec<Buffer>), RecvError> {
        let (message, payloads, regions) = self.head()?;
        let rooms = rooms(&payloads, &self.budget)?.map_err(RecvError::Garbled)?;
        Ok((message, self.fill(payloads, regions, rooms)?))
    }

    /// Like [`HardenedReceiver::recv`], but a lack of memory for the payloads is not the worker's
    /// fault: this function then skips the payloads and says what is lacking.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_or_pass_over<M: DeserializeOwned>(
        &mut self,
    ) -> Result<(M, Result<Vec<Buffer>, String>), RecvError> {
        let (message, payloads, regions) = self.head()?;
        let buffers = match rooms(&payloads, &self.budget)? {
            Ok(rooms) => Ok(self.fill(payloads, regions, rooms)?),
            Err(why) => {
                self.pass_over(&payloads)?;
                Err(why)
            }
        };
        Ok((message, buffers))
    }

    fn head<M: DeserializeOwned>(&mut self) -> Result<Opened<M>, RecvError> {
        let (head, regions) = self.packets.next()?;
        let Head::<M> { message, payloads } = wire::decode(head)?;
        Ok((message, payloads, regions))
    }

    fn fill(
        &mut self,
        payloads: Vec<Carrier>,
        regions: Vec<Option<OwnedFd>>,
        (_held, rooms): (Reservation, Vec<Buffer>),
    ) -> Result<Vec<Buffer>, RecvError> {
        let mut regions = regions.into_iter();
        let mut buffers = Vec::with_capacity(payloads.len());
        for (carrier, room) in payloads.into_iter().zip(rooms) {
            buffers.push(match carrier {
                Carrier::Small(bytes) => Buffer::from(&bytes[..]),
                Carrier::Frames { .. } => self.packets.collect(room)?,
                Carrier::Region { .. } => copy(regions.next().flatten(), room)?,
            });
        }
        Ok(buffers)
    }

    /// Reads and discards the frames of payloads for which there is no memory.
    fn pass_over(&mut self, payloads: &[Carrier]) -> Result<(), RecvError> {
        for carrier in payloads {
            let Carrier::Frames { len } = carrier else { continue };
            let mut left = *len;
            while left > 0 {
                let (frame, _) = self.packets.next()?;
                let taken = left.checked_sub(frame.len() as u64).filter(|_| !frame.is_empty());
                left = taken.ok_or_else(|| garbled("a frame does not fit"))?;
            }
        }
        Ok(())
    }
}

/// A message, the carriers of its payloads, and its regions.
type Opened<M> = (M, Vec<Carrier>, Vec<Option<OwnedFd>>);

/// Room for all payloads of a message, or what is lacking for it.
type Rooms = Result<(Reservation, Vec<Buffer>), String>;

fn rooms(payloads: &[Carrier], budget: &Arc<ReceiveBudget>) -> Result<Rooms, RecvError> {
    if payloads.len() > limits::MAX_INPUTS.max(limits::MAX_OUTPUTS) {
        return Err(RecvError::Garbled(format!("{} payloads", payloads.len())));
    }
    let bytes = payloads.iter().map(Carrier::len).fold(0, u64::saturating_add);
    let is_any_too_long = payloads.iter().any(|payload| payload.len() > limits::MAX_BUFFER_BYTES);
    // A worker cannot hold that many bytes: it has the same memory as this process.
    if is_any_too_long || bytes > budget.all() {
        return Err(RecvError::Garbled(format!("payloads of {bytes} bytes, which no memory has")));
    }
    let lacking = || {
        let why = shortage::of_shared_memory(bytes);
        format!("no memory for its result of {bytes} bytes: {why}")
    };
    let Some(held) = budget.take(bytes) else { return Ok(Err(lacking())) };
    let room = |carrier: &Carrier| match carrier {
        Carrier::Small(_) => Some(Buffer::default()),
        Carrier::Frames { len } | Carrier::Region { len } => {
            usize::try_from(*len).ok().and_then(Buffer::try_zeroed)
        }
    };
    let rooms: Option<Vec<Buffer>> = payloads.iter().map(room).collect();
    Ok(rooms.map(|rooms| (held, rooms)).ok_or_else(lacking))
}

fn copy(region: Option<OwnedFd>, mut buffer: Buffer) -> Result<Buffer, RecvError> {
    if !has_bytes(region.as_ref(), buffer.len() as u64) {
        return Err(garbled("a region that is none, or shorter than is claimed"));
    }
    if let Some(region) = region {
        socket::read_file(&region, &mut buffer)
            .map_err(|error| RecvError::Garbled(format!("a region cannot be read: {error}")))?;
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{FRAME, Payload, SMALL, Sender};
    use crate::{Carriage, packet};
    use brigade_proto::Bytes;
    use std::os::fd::AsFd;

    /// An ipc-channel sender, and the receiver at its other end.
    fn pair() -> (Sender, HardenedReceiver) {
        let (near, far) = socket::pair().unwrap();
        (Sender::over(Arc::new(near)).unwrap(), HardenedReceiver::new(Arc::new(far)))
    }

    /// A socket for sending arbitrary packets, and the receiver at its other end.
    fn raw() -> (OwnedFd, HardenedReceiver) {
        let (near, far) = socket::pair().unwrap();
        (near, HardenedReceiver::new(Arc::new(far)))
    }

    fn says<M: DeserializeOwned>(receiver: &mut HardenedReceiver) -> String {
        match receiver.recv::<M>() {
            Err(error) => error.to_string(),
            Ok(_) => "believed".to_owned(),
        }
    }

    #[test]
    fn what_ipc_channel_sends_arrives_whole() {
        for carriage in [Carriage::Inline, Carriage::Shared] {
            let (sender, mut receiver) = pair();
            let sizes = [0, 1, SMALL, SMALL + 1, FRAME, FRAME + 1, 3 * FRAME + 17];
            let sent: Vec<Bytes> = sizes
                .iter()
                .map(|&n| Bytes::from(&(0..n).map(|i| (i % 251) as u8).collect::<Vec<_>>()[..]))
                .collect();
            let payloads = sent.iter().cloned().map(Payload::Bytes).collect();
            // The socket's buffer does not hold all of it.
            let writer = std::thread::spawn(move || {
                sender.send(7_u32, payloads, carriage).unwrap();
            });
            let (message, payloads) = receiver.recv::<u32>().unwrap();
            writer.join().unwrap();
            assert_eq!(message, 7);
            for (got, sent) in payloads.iter().zip(&sent) {
                assert_eq!(got[..], sent[..]);
            }
            assert_eq!(payloads.len(), sent.len());
            assert!(matches!(receiver.recv::<u32>(), Err(RecvError::Disconnected)));
        }
    }

    fn envelope(payloads: Vec<Carrier>, regions: u64) -> Vec<u8> {
        let head = wire::encode(&Head { message: (), payloads }).unwrap();
        packet::wrap(&packet::message(&head, &(0..regions).collect::<Vec<_>>()))
    }

    #[test]
    fn nothing_is_believed_that_is_not_there() {
        let memory = OwnedFd::from(tempfile::tempfile().unwrap());
        let (pipe, _writer) = std::io::pipe().unwrap();
        let region = |len| envelope(vec![Carrier::Region { len }], 1);
        let frames = |len| envelope(vec![Carrier::Frames { len }], 0);
        let many = |n| envelope((0..n).map(|_| Carrier::Frames { len: 16 << 30 }).collect(), 0);
        let huge = [&usize::MAX.to_ne_bytes()[..], &usize::MAX.to_ne_bytes(), b"xy"].concat();
        for (packet, descriptor, expected) in [
            (region(10), None, "missing"),
            (region(10), Some(memory.as_fd()), "shorter"),
            (region(0), Some(pipe.as_fd()), "none"),
            (frames(1 << 63), None, "payloads of"),
            (many(16), None, "payloads of"),
            (many(17), None, "17 payloads"),
            (huge, None, "another length"),
            (b"short".to_vec(), None, "header"),
            (packet::wrap(&vec![0; packet::LONGEST]), None, "too long"),
        ] {
            let (socket, mut receiver) = raw();
            socket::send(&socket, &packet, descriptor.as_slice()).unwrap();
            let said = says::<()>(&mut receiver);
            assert!(said.contains(expected), "{said}, not {expected}");
        }
    }

    #[test]
    fn two_workers_together_hold_no_more_than_one_may() {
        const LEN: u64 = 3 << 20;
        let budget = ReceiveBudget::new(5 << 20);
        let receiver = |raw: (OwnedFd, HardenedReceiver)| {
            let (socket, receiver) = raw;
            (socket, HardenedReceiver { budget: Arc::clone(&budget), ..receiver })
        };
        let ((one, mut first), (other, mut second)) = (receiver(raw()), receiver(raw()));
        let claim = envelope(vec![Carrier::Frames { len: LEN }], 0);
        socket::send(&one, &claim, &[]).unwrap();
        let frame = packet::wrap(&packet::message(&[7; 1000], &[]));
        std::thread::scope(|scope| {
            let held = scope.spawn(move || says::<()>(&mut first));
            // The receiver has reserved its room by then: these packets exceed a socket's buffer,
            // so it has read some of them.
            for _ in 0..1000 {
                socket::send(&one, &frame, &[]).unwrap();
            }
            socket::send(&other, &claim, &[]).unwrap();
            assert!(says::<()>(&mut second).contains("no memory"));
            drop(one);
            assert!(held.join().unwrap().contains("gone"));
        });
        // The first receiver has given its room back.
        let (third, mut receiver) = receiver(raw());
        socket::send(&third, &claim, &[]).unwrap();
        drop(third);
        assert!(says::<()>(&mut receiver).contains("gone"));
    }

    #[test]
    fn a_worker_for_whose_result_there_is_no_memory_is_heard_on() {
        let (socket, receiver) = raw();
        let mut receiver = HardenedReceiver { budget: ReceiveBudget::new(2 << 20), ..receiver };
        let frame = vec![7; 1 << 20];
        let frames = |count: u64| envelope(vec![Carrier::Frames { len: count << 20 }], 0);
        let send = |packet: &[u8]| socket::send(&socket, packet, &[]).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(&frames(3));
                for part in frame.chunks(64 << 10).cycle().take(48) {
                    send(&packet::wrap(&packet::message(part, &[])));
                }
                send(&frames(0));
            });
            let ((), lacking) = receiver.recv_or_pass_over::<()>().unwrap();
            assert!(lacking.unwrap_err().contains("no memory for its result of 3145728 bytes"));
            let ((), next) = receiver.recv_or_pass_over::<()>().unwrap();
            assert_eq!(next.unwrap().len(), 1, "what comes after it is understood");
        });
        // A claim of more than the machine has is a lie.
        send(&frames(5));
        assert!(matches!(receiver.recv_or_pass_over::<()>(), Err(RecvError::Garbled(_))));
    }

    #[test]
    fn frames_that_do_not_fit_are_refused() {
        for frame in [&[0_u8; 11][..], &[]] {
            let (socket, mut receiver) = raw();
            let first = envelope(vec![Carrier::Frames { len: 10 }], 0);
            socket::send(&socket, &first, &[]).unwrap();
            let second = packet::wrap(&packet::message(frame, &[]));
            socket::send(&socket, &second, &[]).unwrap();
            assert!(says::<()>(&mut receiver).contains("does not fit"));
        }
    }
}
