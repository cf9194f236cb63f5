//! Syncs many files together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use brigade_sys::storage::start_writeback;

use super::{FileError, disk};

/// With this many files on one file system, the file system is synced as a whole: `syncfs` waits
/// for the disk once, but syncing each file waits once per file. For fewer files it is not worth
/// waiting for whatever else is written on the file system.
const MANY: usize = if cfg!(test) { 3 } else { 8 };

/// Waits until all these files are on their disks. Returns the result for each.
pub(crate) fn files(files: &[&File]) -> Vec<io::Result<()>> {
    let mut results: Vec<io::Result<()>> = files.iter().map(|_| Ok(())).collect();
    let mut disks: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        match file.metadata() {
            Ok(found) => disks.entry(found.dev()).or_default().push(index),
            Err(error) => results[index] = Err(error),
        }
    }
    for indices in disks.into_values() {
        if indices.len() >= MANY && disk::sync_filesystem(files[indices[0]]).is_ok() {
            continue;
        }
        // Start to write all of them before waiting for the first. The wait reports an error.
        for &index in &indices {
            let _ = start_writeback(files[index]);
        }
        for index in indices {
            results[index] = disk::sync_data(files[index]);
        }
    }
    results
}

/// Waits until the names in all these directories are on their disks.
///
/// # Errors
/// When those of one directory cannot be synced.
pub(crate) fn directories(directories: &[PathBuf]) -> Result<(), FileError> {
    let mut few: Vec<PathBuf> = Vec::new();
    if directories.len() < MANY {
        few.extend_from_slice(directories);
    } else {
        let mut disks = BTreeMap::new();
        for directory in directories {
            let opened = File::open(directory).and_then(|file| Ok((file.metadata()?.dev(), file)));
            let (disk, file) = opened.map_err(|error| (directory.clone(), error))?;
            disks.entry(disk).or_insert((file, Vec::new())).1.push(directory);
        }
        for (file, directories) in disks.into_values() {
            if disk::sync_filesystem(&file).is_err() {
                few.extend(directories.into_iter().cloned());
            }
        }
    }
    few.into_iter().try_for_each(|directory| {
        disk::sync_directory(&directory).map_err(|error| (directory, error))
    })
}
