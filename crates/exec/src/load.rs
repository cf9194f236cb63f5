//! Reading inputs. Every backend reads when the job is assigned to a worker, so
//! that a long queue holds names, not bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use brigade_proto::{Buffer, JobError, Source, limits};

/// The bytes of all inputs of a job.
pub(crate) fn load(inputs: &[Source]) -> Result<Vec<Arc<Buffer>>, JobError> {
    inputs
        .iter()
        .map(|source| match source {
            Source::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Source::File(path) => read(path).map(Arc::new).map_err(|error| JobError::Read {
                path: path.clone(),
                message: error.to_string(),
            }),
        })
        .collect()
}

fn read(path: &Path) -> std::io::Result<Buffer> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // A pipe or device has no length to allocate by.
        let mut bytes = Vec::new();
        file.take(limits::MAX_BUFFER_BYTES).read_to_end(&mut bytes)?;
        return Ok(Buffer::from(&bytes[..]));
    }
    let too_large = || std::io::Error::other(format!("{} bytes do not fit", metadata.len()));
    if metadata.len() > limits::MAX_BUFFER_BYTES {
        return Err(too_large());
    }
    let mut buffer = Buffer::try_zeroed(metadata.len() as usize).ok_or_else(too_large)?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            // Somebody shortened the file while it was read.
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Bytes of all inputs together.
pub(crate) fn total(inputs: &[Arc<Buffer>]) -> u64 {
    inputs.iter().map(|input| input.len() as u64).sum()
}
