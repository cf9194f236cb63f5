//! A model of a disk: it applies operations, and builds what a power failure may leave.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use brigade_measure::rng::Rng;

use crate::write::disk::record::{FileId, Operation};

/// How many bytes a disk writes atomically.
const SECTOR: usize = 512;

/// What happens to the operations that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// All of them are on the disk: only the program was killed.
    Nothing,
    /// All of them are lost.
    Everything,
    /// The disk has all names or the first of them, but not all contents of the files.
    Contents,
}

/// A file: its contents now, and the contents that are certainly on the disk.
#[derive(Clone, Default)]
struct SimulatedFile {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// The names of files and directories. A file is an index into `Disk::files`.
#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
}

impl Names {
    /// Replaces the entries directly in `directory` by those of `now`.
    fn take_over(&mut self, directory: &Path, now: &Self) {
        let is_in = |path: &Path| path.parent() == Some(directory);
        self.files.retain(|path, _| !is_in(path));
        self.directories.retain(|path| !is_in(path));
        let files = now.files.iter().filter(|(path, _)| is_in(path));
        self.files.extend(files.map(|(path, &file)| (path.clone(), file)));
        self.directories.extend(now.directories.iter().filter(|path| is_in(path)).cloned());
    }
}

pub(super) struct Disk {
    root: PathBuf,
    files: Vec<SimulatedFile>,
    numbers: HashMap<FileId, usize>,
    now: Names,
    synced: Names,
    /// The names after each operation since the last sync of names.
    since: Vec<Names>,
}

/// The contents of a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeSet<PathBuf>,
}

impl Image {
    /// Everything below `root`.
    pub(super) fn of(root: &Path) -> Self {
        let mut image = Self::default();
        image.add(root);
        image
    }

    fn add(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add(&path);
                self.directories.insert(path);
            } else {
                self.files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }

    /// Replaces everything below `root` by this image.
    pub(super) fn put(&self, root: &Path) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        // Parents come first in this order.
        self.directories.iter().for_each(|path| fs::create_dir(path).unwrap());
        self.files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

impl Disk {
    /// A disk on which everything below `root` is synced.
    pub(super) fn of(root: &Path) -> Self {
        let image = Image::of(root);
        let (mut files, mut numbers, mut names) = (Vec::new(), HashMap::new(), Names::default());
        for (path, bytes) in image.files {
            let found = path.metadata().unwrap();
            numbers.insert((found.dev(), found.ino()), files.len());
            names.files.insert(path, files.len());
            files.push(SimulatedFile { now: bytes.clone(), synced: bytes });
        }
        names.directories = image.directories;
        let (synced, since) = (names.clone(), vec![names.clone()]);
        Self { root: root.to_owned(), files, numbers, now: names, synced, since }
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        use Operation::*;
        match operation {
            Make(id, _, path) => {
                self.make(*id);
                if let Some(path) = path {
                    self.name(*id, path);
                }
            }
            Open(id, path) => {
                if !self.now.files.contains_key(path) {
                    self.make(*id);
                    self.name(*id, path);
                }
            }
            Write(id, bytes) => self.file(*id).now.extend(bytes),
            SetLen(id, len) => self.file(*id).now.truncate(*len as usize),
            Link(id, path) => self.name(*id, path),
            HardLink(from, to) => drop(self.now.files.insert(to.clone(), self.now.files[from])),
            Rename(from, to) => {
                let file = self.now.files.remove(from).unwrap();
                self.now.files.insert(to.clone(), file);
            }
            Exchange(one, other) => {
                let (first, second) = (self.now.files[one], self.now.files[other]);
                self.now.files.extend([(one.clone(), second), (other.clone(), first)]);
            }
            Remove(path) => drop(self.now.files.remove(path).unwrap()),
            MakeDirectory(path) => drop(self.now.directories.insert(path.clone())),
            SyncData(id) => {
                let file = self.file(*id);
                file.synced = file.now.clone();
            }
            SyncAll(_) => {
                self.files.iter_mut().for_each(|file| file.synced = file.now.clone());
                self.synced = self.now.clone();
                self.since.clear();
            }
            SyncDirectory(path) => {
                self.synced.take_over(path, &self.now);
                self.since.clear();
            }
            Report(_) => {}
        }
        self.since.push(self.now.clone());
    }

    fn make(&mut self, id: FileId) {
        self.numbers.insert(id, self.files.len());
        self.files.push(SimulatedFile::default());
    }

    fn name(&mut self, id: FileId, path: &Path) {
        self.now.files.insert(path.to_owned(), self.numbers[&id]);
    }

    fn file(&mut self, id: FileId) -> &mut SimulatedFile {
        &mut self.files[self.numbers[&id]]
    }

    /// What a power failure at this moment may leave.
    pub(super) fn image(&self, loss: Loss, rng: &mut Rng) -> Image {
        let names = match loss {
            Loss::Nothing => &self.now,
            Loss::Everything => &self.synced,
            Loss::Contents if rng.roll(2) == 0 => &self.now,
            Loss::Contents => &self.since[rng.roll(self.since.len())],
        };
        let is_there = |path: &Path| {
            path.ancestors()
                .skip(1)
                .take_while(|above| *above != self.root)
                .all(|above| names.directories.contains(above))
        };
        let directories = names.directories.iter().filter(|path| is_there(path)).cloned();
        let mut image = Image { directories: directories.collect(), ..Image::default() };
        for (path, &file) in names.files.iter().filter(|(path, _)| is_there(path)) {
            let file = &self.files[file];
            let bytes = match loss {
                Loss::Nothing => file.now.clone(),
                Loss::Everything => file.synced.clone(),
                Loss::Contents => file.torn(rng),
            };
            image.files.insert(path.clone(), bytes);
        }
        image
    }
}

impl SimulatedFile {
    /// The contents if some of the last writes did not reach the disk.
    fn torn(&self, rng: &mut Rng) -> Vec<u8> {
        let same = self.now.iter().zip(&self.synced).take_while(|(now, synced)| now == synced);
        let same = same.count();
        // If the file was shortened, that may not have reached the disk.
        if same < self.synced.len() && rng.roll(2) == 0 {
            return self.synced.clone();
        }
        let mut bytes = self.now.clone();
        let cut = same + rng.roll(bytes.len() - same + 1);
        match rng.roll(3) {
            0 => bytes.truncate(cut),
            1 => bytes[cut..].fill(0),
            // Blocks reach the disk in any order.
            _ => {
                for at in same..bytes.len() {
                    if at == same || at % SECTOR == 0 {
                        let end = (at / SECTOR + 1) * SECTOR;
                        let end = end.min(bytes.len());
                        if rng.roll(2) == 0 {
                            bytes[at..end].fill(0);
                        }
                    }
                }
            }
        }
        bytes
    }
}
