//! Which of a worker's tracks a job lies on.

use brigade_proto::Nanos;

/// The tracks of one worker: one, unless kernels overlap, which they do on an event
/// loop while they wait. On one track nothing may overlap.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    /// The process that its last job ran in.
    pub(super) pid: Option<u32>,
    /// From when on each track is free.
    free: Vec<Nanos>,
}

impl Tracks {
    /// How many there are, the first included.
    pub(super) fn count(&self) -> usize {
        self.free.len().max(1)
    }

    /// A place for a job that came to its kernel at `called`: the first track that
    /// was free by then, and since when it was.
    ///
    /// Jobs come in the order in which they end, so what lies on a track lies before
    /// its last end.
    pub(super) fn take(&mut self, called: Nanos, published: Nanos) -> (usize, Nanos) {
        let track = match self.free.iter().position(|&free| free <= called) {
            Some(track) => track,
            None => {
                self.free.push(0);
                self.free.len() - 1
            }
        };
        let free = std::mem::replace(&mut self.free[track], published);
        (track, free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_lies_on_different_tracks() {
        let mut tracks = Tracks::default();
        assert_eq!(tracks.count(), 1);
        assert_eq!(tracks.take(10, 20), (0, 0));
        assert_eq!(tracks.take(20, 30), (0, 20));
        assert_eq!(tracks.take(15, 35), (1, 0));
        assert_eq!(tracks.take(12, 40), (2, 0));
        assert_eq!(tracks.take(32, 50), (0, 30));
        assert_eq!(tracks.take(36, 60), (1, 35));
        assert_eq!(tracks.count(), 3);
    }
}
