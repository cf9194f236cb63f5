//! Limits that are checked before anything is allocated or decoded. Data from another process, a
//! file or a command line is untrusted.

/// Most inputs of one job.
pub const MAX_INPUTS: usize = 16;
/// Most outputs of one job.
pub const MAX_OUTPUTS: usize = 16;
/// Most bytes of one input or output buffer: 16 GiB.
pub const MAX_BUFFER_BYTES: u64 = 16 << 30;
/// Most bytes of the serialised head of a message: ids, parameters, stamps, errors. Payloads do not
/// count; they travel beside the head.
pub const MAX_HEAD_BYTES: usize = 128 << 10;
/// Most bytes of an error message. Longer ones are cut.
pub const MAX_ERROR_BYTES: usize = 16 << 10;
/// Most workers of one pool.
pub const MAX_WORKERS: usize = 1024;
/// Most jobs that may be assigned to one worker at a time. A socket's buffer is full at about 93
/// messages of 1 KiB. This limit is far below that, so that coordinator and worker never block each
/// other.
pub const MAX_DEPTH: usize = 16;

/// Cuts `text` to at most `max` bytes, at a character boundary.
///
/// ```
/// assert_eq!(brigade_proto::limits::cut("héllo", 2), "h");
/// ```
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
