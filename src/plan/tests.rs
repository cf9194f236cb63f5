use std::fs;
use std::path::Path;

use brigade_exec::Backend;
use brigade_kernels::Registry;
use clap::Parser;
use tempfile::TempDir;

use super::RunPlan;
use crate::args::{Cli, Command};

/// A directory with the named files.
fn files(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }
    dir
}

/// Plans `brigade run LINE`. `@` is replaced by the directory.
fn plan(dir: &TempDir, line: &str) -> Result<RunPlan, String> {
    let line = line.replace('@', dir.path().to_str().unwrap());
    let words = ["brigade", "run"].into_iter().chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let Command::Run(args) = cli.command else { panic!("not a run") };
    let planned = super::run(&args, &Registry::builtin(), Backend::Threads);
    // As the command does: only the directory remains to be checked.
    let prepared = planned.and_then(|plan| plan.prepare().map(|_| plan));
    prepared.map_err(|failure| failure.message)
}

fn outputs(dir: &TempDir, line: &str) -> Vec<String> {
    let plan = plan(dir, line).unwrap();
    let relative = |path: &Path| path.strip_prefix(dir.path()).unwrap().display().to_string();
    (0..plan.len()).map(|job| relative(&plan.output(job).unwrap())).collect()
}

#[test]
fn one_job_writes_a_file_and_several_a_directory() {
    let dir = files(&["a.png", "b.JPG", "c", "there/x"]);
    assert_eq!(outputs(&dir, "grayscale @/a.png -o @/o.png"), ["o.png"]);
    assert_eq!(outputs(&dir, "grayscale @/a.png -o @/there"), ["there/a.png"]);
    assert_eq!(outputs(&dir, "grayscale @/a.png -o @/new/"), ["new/a.png"]);
    assert_eq!(outputs(&dir, "grayscale @/a.png --ext webp -o @/w/"), ["w/a.webp"]);
    assert_eq!(
        outputs(&dir, "grayscale @/a.png @/b.JPG @/c -o @/o"),
        ["o/a.png", "o/b.JPG", "o/c"]
    );
    assert_eq!(outputs(&dir, "grayscale @/b.JPG -p format=png -o @/p/"), ["p/b.png"]);
    assert_eq!(outputs(&dir, "grayscale --jobs 1 --size 8x8 -o @/s.png"), ["s.png"]);
    let numbered = outputs(&dir, "grayscale --jobs 11 --size 8x8 -o @/n");
    assert_eq!((&numbered[0][..], &numbered[10][..]), ("n/grayscale-00.npy", "n/grayscale-10.npy"));
}

/// What OUT means depends on its name and on what exists. Several inputs never turn a file into a
/// directory.
#[test]
fn out_is_a_file_or_a_directory_by_its_name_and_what_is_there() {
    let dir = files(&["a.png", "b.png", "old.png", "there/x"]);
    std::os::unix::fs::symlink("there", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("no", dir.path().join("dangling")).unwrap();
    for (line, expected) in [
        ("@/a.png -o @/name.jpg --ext jpg", "name.jpg"),
        ("@/a.png -o @/name.jpeg --ext jpg", "name.jpeg"),
        ("@/a.png -o @/name --ext jpg", "name"),
        ("@/a.png -o @/name.jpg/ --ext jpg", "name.jpg/a.jpg"),
        ("@/a.png -o @/there --ext jpg", "there/a.jpg"),
        ("@/a.png -o @/link", "link/a.png"),
        ("@/a.png -o @/old.png --force", "old.png"),
        ("@/a.png @/b.png -o @/some.d", "some.d/a.png"),
    ] {
        assert_eq!(outputs(&dir, &format!("grayscale {line}"))[0], expected, "{line}");
    }
    for (line, expected) in [
        ("@/a.png -o @/other.jpg --ext png", "--ext png and the name -o"),
        ("@/a.png @/b.png -o @/out.png", "end it with / for a directory"),
        ("@/a.png @/b.png -o @/out.JPG --ext png", "end it with / for a directory"),
        ("--jobs 2 -o @/out.npy", "end it with / for a directory"),
        ("@/a.png @/b.png -o @/old.png --force", "is not a directory, and there are 2 jobs"),
        ("@/a.png @/b.png -o @/dangling", "is a link to no directory"),
        ("@/a.png -o @/no/o.png", "there is no directory"),
        ("@/a.png -o @/a.png/o.png", "is not a directory"),
    ] {
        let error = plan(&dir, &format!("grayscale {line}")).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
    assert!(!dir.path().join("out.png").exists());
}

#[test]
fn nothing_to_read_is_no_reason_to_make_something_up() {
    let dir = files(&["a.png"]);
    for line in ["blur", "blur --seed 3", "matmul", "touch"] {
        let error = plan(&dir, line).unwrap_err();
        assert!(error.contains("no input files") && error.contains("--synthetic"), "{error}");
    }
    for line in ["blur --synthetic", "blur --jobs 1", "blur --size 8x8", "noop", "spin", "wait"] {
        assert_eq!(plan(&dir, line).unwrap().len(), 1, "{line}");
    }
    assert!(plan(&dir, "blur @/a.png --synthetic").unwrap_err().contains("--synthetic is for"));
    for (line, expected) in
        [("blur @/no/*.jpg", "no file matches"), ("blur @/a[0-9].png", "no file matches")]
    {
        assert!(plan(&dir, line).unwrap_err().contains(expected), "{line}");
    }
}

#[test]
fn the_extension_sets_the_format() {
    let dir = files(&["a.png"]);
    for (options, format) in [
        ("-o @/o.jpg", "jpeg"),
        ("-o @/o.TIF", "tiff"),
        ("-o @/o --ext .webp", "webp"),
        ("-o @/o/", "same"),
        ("-o @/o.png -p format=png", "png"),
    ] {
        let plan = plan(&dir, &format!("grayscale @/a.png {options}")).unwrap();
        assert_eq!(plan.params.get("format").unwrap().to_string(), format, "{options}");
    }
}

#[test]
fn what_would_go_wrong_is_refused_before_the_start() {
    let dir = files(&["a.png", "s/a.png", "a.jpg", "old.png"]);
    for (line, expected) in [
        ("grayscale @/no.png", "no.png: No such file"),
        ("grayscale @", "is a directory"),
        ("grayscale @/a.png @/s/a.png -o @/o", "would both write"),
        ("grayscale @/a.png @/a.jpg --ext png -o @/o", "would both write"),
        ("grayscale @/a.png @/a.png -o @/o", "would both write"),
        ("grayscale @/a.png -o @/old.png", "--force"),
        ("grayscale @/a.png @/s/a.png --force -o @/.", "would both write"),
        ("grayscale @/a.png -o @/o.bmp", "cannot write .bmp"),
        ("grayscale @/a.png -o @/o.jpg -p format=png", "contradict"),
        ("grayscale @/a.png -o -", "-o -"),
        ("grayscale @/a.png -o @/no/o.png", "there is no directory"),
        ("grayscale @/a.png -o @/a.png/o.png", "cannot write"),
        ("grayscale @/a.png --jobs 2", "--jobs"),
        ("grayscale @/a.png -p sigma=2", "no parameter `sigma`"),
        ("blur @/a.png -p sigma=-2", "sigma is a real number"),
        ("blur @/a.png -p sigma=1 -p sigma=2", "twice"),
        ("bulr @/a.png", "did you mean `blur`"),
        ("grayscale @/a.png --ext png", "required"),
        ("grayscale @/a.png --max-pixels 0", "max_pixels"),
    ] {
        let error = plan(&dir, line).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
    assert!(!dir.path().join("o").exists(), "a refused run makes nothing");
}

#[test]
fn an_existing_file_may_be_replaced_by_its_own_job() {
    let dir = files(&["a.png", "b.png"]);
    let plan = plan(&dir, "grayscale @/a.png @/b.png --force -o @").unwrap();
    assert_eq!(plan.output(1).unwrap(), dir.path().join("b.png"));
}
