//! Sizes that are checked before anything is allocated or decoded. What comes
//! from another process, a file or a command line is foreign input.

/// Inputs of one job.
pub const MAX_INPUTS: usize = 16;
/// Outputs of one job.
pub const MAX_OUTPUTS: usize = 16;
/// Bytes of one input or output buffer: 16 GiB.
pub const MAX_BUFFER_BYTES: u64 = 16 << 30;
/// Bytes of the serialised head of a message: ids, parameters, stamps, errors.
/// Bulk bytes do not count, they travel beside it.
pub const MAX_HEAD_BYTES: usize = 128 << 10;
/// Bytes of an error message. Longer ones are cut.
pub const MAX_ERROR_BYTES: usize = 16 << 10;
/// Workers of one pool.
pub const MAX_WORKERS: usize = 1024;
/// Jobs that may be assigned to one worker at a time. Far below the number of
/// messages (about 93 of 1 KiB) at which a socket's buffer is full, so that
/// coordinator and worker never block each other.
pub const MAX_DEPTH: usize = 16;

/// Cuts `text` to at most `max` bytes at a character boundary.
///
/// ```
/// assert_eq!(brigade_proto::limits::cut("héllo", 2), "h");
/// ```
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
