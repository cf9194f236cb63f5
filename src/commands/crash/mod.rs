//! Tests of power failures. A test records a run, operation by operation. For each moment of the
//! run, it builds images of what a disk may hold if the power fails there, and resumes the run on
//! each image.

mod disk;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use brigade_kernels::{Context, Inputs, Kernel, KernelError, Progress, Registry, Spec};
use brigade_measure::rng::Rng;
use clap::Parser;

use super::{batch, run};
use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::write::disk::record::{self, Operation};
use crate::write::writer_of;
use disk::{Disk, Image, Loss};

/// A directory with inputs, and a file in it that the run must not touch.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(images: usize) -> Self {
        // Thousands of files are created and removed, which does not need a disk.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let scene = Self { dir: dir.unwrap() };
        fs::create_dir(scene.path("in")).unwrap();
        for image in 0..images {
            scene.input(image, 4);
        }
        fs::write(scene.path("notes"), "mine").unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn input(&self, image: usize, size: usize) {
        let size = format!("{}x{size}", 4 + image);
        let name = format!("ROOT/in/{image:02}.png");
        let line = format!(
            "run grayscale -b sync --jobs 1 --force --durability none --size {size} -o {name}"
        );
        assert_eq!(self.run(&line), Exit::Ok);
    }

    /// Runs `brigade LINE` in this process; ROOT is the directory.
    fn run(&self, line: &str) -> Exit {
        let root = self.dir.path().to_str().unwrap();
        let line = format!("brigade {}", line.replace("ROOT", root));
        let exit = match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(args) => run::run(&args, Registry::builtin().with(Halves)),
            Command::Batch(args) => batch::run(&args, Registry::builtin().with(Halves)),
            _ => unreachable!("{line}"),
        };
        exit.unwrap_or_else(|failure| {
            eprintln!("{}", failure.message);
            failure.exit
        })
    }

    /// The results that exist.
    fn outputs(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut image = Image::of(self.dir.path());
        // A temporary file with a name stays until the next run in its directory removes it.
        let is_left = |path: &Path| record::wants_names() && is_temporary(path);
        image.files.retain(|path, _| path.parent() == Some(&self.path("out")) && !is_left(path));
        image.files
    }
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| writer_of(name).is_some())
}

/// What a run guarantees about the disk at the moment of a power failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// A result that has its name is complete, and a reported result exists.
    Durable,
    Nothing,
}

/// Records `line`. Then resumes it with `again` on images of each moment. Returns how many images
/// there were.
fn images(scene: &Scene, line: &str, again: &str, promise: Promise) -> usize {
    let root = scene.dir.path();
    let before = Image::of(root);
    let old = scene.outputs();
    let mut disk = Disk::of(root);
    let (exit, operations) = record::of(root, || scene.run(line));
    assert_eq!(exit, Exit::Ok);
    let expected = scene.outputs();
    assert!(!expected.is_empty());
    let mut rng = Rng::new(1);
    let mut reported: Vec<PathBuf> = Vec::new();
    let mut count = 0;
    for moment in 0..=operations.len() {
        if moment > 0 {
            disk.apply(&operations[moment - 1]);
            if let Operation::Report(paths) = &operations[moment - 1] {
                reported.extend_from_slice(paths);
            }
        }
        for loss in [Loss::Nothing, Loss::Everything, Loss::Contents] {
            let image = disk.image(loss, &mut rng);
            let context = format!("{loss:?} after {moment} of {} operations", operations.len());
            image.put(root);
            if promise == Promise::Durable {
                keeps_its_promise(&image, &old, &expected, &reported, &context);
            }
            let done: Vec<u64> = reported.iter().map(|path| number(path)).collect();
            assert_eq!(scene.run(again), Exit::Ok, "{context}");
            let mut found = scene.outputs();
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>(),
                "{context}"
            );
            found.retain(|path, bytes| *bytes != expected[path]);
            assert!(found.is_empty(), "{context}: {found:?}");
            let others = Image::of(root);
            for (path, bytes) in
                before.files.iter().filter(|(path, _)| !expected.contains_key(*path))
            {
                assert!(path.ends_with("j") || others.files[path] == *bytes, "{context}: {path:?}");
            }
            if promise == Promise::Durable {
                let after: Vec<u64> = reported.iter().map(|path| number(path)).collect();
                assert_eq!(done, after, "{context}: what was reported was made again");
            }
            count += 1;
        }
    }
    count
}

fn number(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.ino())
}

fn keeps_its_promise(
    image: &Image,
    old: &BTreeMap<PathBuf, Vec<u8>>,
    expected: &BTreeMap<PathBuf, Vec<u8>>,
    reported: &[PathBuf],
    context: &str,
) {
    for (path, whole) in expected {
        let found = image.files.get(path);
        let is_told = reported.contains(path);
        match found {
            Some(bytes) if bytes == whole => {}
            found => {
                assert!(!is_told, "{context}: {path:?} is reported");
                assert!(
                    found == old.get(path),
                    "{context}: {path:?} is neither whole nor as it was"
                );
            }
        }
    }
}

/// A kernel whose jobs have two outputs, each larger than a disk block.
struct Halves;

impl Kernel for Halves {
    fn spec(&self) -> Spec {
        Spec::new("halves", "Both halves of a file").inputs(Inputs::exactly(1, "any file"))
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let bytes = job.input(0)?;
        let (one, other) = bytes.split_at(bytes.len() / 2);
        job.put(&one.repeat(30))?;
        job.put(&other.repeat(30))?;
        Ok(Progress::Done)
    }
}

const IMAGES: usize = 20;

fn run_line(durability: &str) -> String {
    let inputs: String = (0..IMAGES).map(|image| format!(" ROOT/in/{image:02}.png")).collect();
    format!(
        "run blur -p sigma=1 -b sync -o ROOT/out --journal ROOT/j --keep-going \
         --durability {durability}{inputs}"
    )
}

/// A batch in which every fourth job has two outputs.
fn batch_line(scene: &Scene, durability: &str) -> String {
    let root = scene.dir.path().display();
    let lines: String = (0..IMAGES)
        .map(|image| {
            let (kernel, extension) =
                if image % 4 == 3 { ("halves", "bin") } else { ("sobel", "png") };
            format!(
                "{{\"kernel\":\"{kernel}\",\"inputs\":[\"{root}/in/{image:02}.png\"],\
                 \"output\":\"{root}/out/{image:02}.{extension}\"}}\n"
            )
        })
        .collect();
    fs::write(scene.path("jobs"), lines).unwrap();
    fs::create_dir_all(scene.path("out")).unwrap();
    format!("batch ROOT/jobs -b sync --journal ROOT/j --durability {durability}")
}

/// Records `line` twice: without results of an earlier run, and with them.
fn first_and_again(scene: &Scene, line: &str, promise: Promise) {
    let again = format!("{line} --resume");
    let count = images(scene, line, &again, promise);
    assert!(count >= 300, "{count} images");
    // All results exist, and all have to be replaced.
    for image in 0..IMAGES {
        scene.input(image, 5);
    }
    let count = images(scene, &again, &again, promise);
    assert!(count >= 300, "{count} images");
}

#[test]
fn a_run_is_resumed_after_a_loss_of_power() {
    first_and_again(&Scene::new(IMAGES), &run_line("batch"), Promise::Durable);
}

#[test]
fn where_files_need_names_a_run_is_resumed_as_well() {
    record::with_names(|| {
        first_and_again(&Scene::new(IMAGES), &run_line("batch"), Promise::Durable);
    });
}

#[test]
fn a_batch_is_resumed_after_a_loss_of_power() {
    let scene = Scene::new(IMAGES);
    let line = batch_line(&scene, "batch");
    first_and_again(&scene, &line, Promise::Durable);
}

#[test]
fn results_that_do_not_wait_for_others_are_on_the_disk_as_well() {
    let scene = Scene::new(IMAGES);
    let line = batch_line(&scene, "sync");
    assert!(images(&scene, &line, &format!("{line} --resume"), Promise::Durable) >= 300);
}

/// Few files are synced one by one.
#[test]
fn a_single_result_is_on_the_disk_before_it_is_reported() {
    let scene = Scene::new(1);
    fs::create_dir(scene.path("out")).unwrap();
    let line = "run blur ROOT/in/00.png -b sync -o ROOT/out/00.png --journal ROOT/j";
    assert!(images(&scene, line, &format!("{line} --resume"), Promise::Durable) >= 50);
    // The same without a journal. Such a run cannot be resumed.
    let line = "run blur ROOT/in/00.png -b sync -o ROOT/new/00.png";
    fs::create_dir(scene.path("new")).unwrap();
    let mut disk = Disk::of(scene.dir.path());
    let (_, operations) = record::of(scene.dir.path(), || scene.run(line));
    let whole = fs::read(scene.path("new/00.png")).unwrap();
    let mut is_reported = false;
    for operation in &operations {
        disk.apply(operation);
        is_reported |= matches!(operation, Operation::Report(_));
        let image = disk.image(Loss::Everything, &mut Rng::new(5));
        let found = image.files.get(&scene.path("new/00.png"));
        assert!(found.map_or(!is_reported, |found| *found == whole));
    }
    assert!(is_reported);
}

/// Results may then be missing or torn. The resumed run finds these and makes them again.
#[test]
fn without_durability_a_resumed_run_finds_what_was_lost() {
    first_and_again(&Scene::new(IMAGES), &run_line("none"), Promise::Nothing);
    let scene = Scene::new(IMAGES);
    let line = batch_line(&scene, "none");
    first_and_again(&scene, &line, Promise::Nothing);
}

/// The power fails again while the run is resumed after the first failure.
#[test]
fn a_second_loss_of_power_is_no_worse_than_the_first() {
    let scene = Scene::new(IMAGES);
    let line = run_line("batch");
    let root = scene.dir.path();
    let mut disk = Disk::of(root);
    let (_, operations) = record::of(root, || scene.run(&line));
    let mut rng = Rng::new(2);
    for operation in &operations[..operations.len() / 2] {
        disk.apply(operation);
    }
    for loss in [Loss::Nothing, Loss::Everything, Loss::Contents] {
        disk.image(loss, &mut rng).put(root);
        let again = format!("{line} --resume");
        assert!(images(&scene, &again, &again, Promise::Durable) >= 100);
    }
}

/// The journal is cut off at many places, and each result is empty, half or complete.
#[test]
fn a_journal_that_is_cut_anywhere_is_resumed() {
    let scene = Scene::new(IMAGES);
    let inputs: String = (0..6).map(|image| format!(" ROOT/in/{image:02}.png")).collect();
    let line = format!("run blur -p sigma=1 -b sync -o ROOT/out --journal ROOT/j --resume{inputs}");
    assert_eq!(scene.run(&line), Exit::Ok);
    let (expected, journal) = (scene.outputs(), fs::read(scene.path("j")).unwrap());
    let is_near_an_end =
        |cut: usize| journal[cut.saturating_sub(1)..].iter().take(2).any(|&byte| byte == b'\n');
    let cuts = (0..=journal.len()).filter(|&cut| cut % 5 == 0 || is_near_an_end(cut));
    let mut rng = Rng::new(3);
    for cut in cuts {
        fs::write(scene.path("j"), &journal[..cut]).unwrap();
        for (path, bytes) in &expected {
            let len = [0, bytes.len() / 2, bytes.len()][rng.roll(3)];
            fs::write(path, &bytes[..len]).unwrap();
        }
        assert_eq!(scene.run(&line), Exit::Ok, "cut at {cut} of {}", journal.len());
        assert!(scene.outputs() == expected, "cut at {cut} of {}", journal.len());
    }
}

/// A file that another program writes in the place of a result is kept, whatever was lost.
#[test]
fn no_file_of_somebody_else_is_replaced_after_a_loss_of_power() {
    let scene = Scene::new(IMAGES);
    let line = run_line("batch");
    let root = scene.dir.path();
    let mut disk = Disk::of(root);
    let (_, operations) = record::of(root, || scene.run(&line));
    let expected = scene.outputs();
    let mut rng = Rng::new(4);
    let mut kept = 0;
    for operation in &operations {
        disk.apply(operation);
        for loss in [Loss::Nothing, Loss::Everything, Loss::Contents] {
            let image = disk.image(loss, &mut rng);
            image.put(root);
            let journal = image.files.get(&scene.path("j")).cloned().unwrap_or_default();
            let journal = String::from_utf8_lossy(&journal).into_owned();
            // Whether a record in the journal names this result.
            let is_told = |path: &Path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                journal.contains(&format!("\"outputs\":[\"out/{name}\"]"))
            };
            let free = |path: &&PathBuf| !image.files.contains_key(*path) && !is_told(path);
            let Some(path) = expected.keys().find(free) else { continue };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "mine").unwrap();
            assert!(
                [Exit::JobFailed, Exit::Usage].contains(&scene.run(&format!("{line} --resume")))
            );
            assert_eq!(fs::read(path).unwrap(), b"mine");
            kept += 1;
        }
    }
    assert!(kept >= 200, "{kept}");
}
