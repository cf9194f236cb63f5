//! What the program says about itself.

use crate::util::TestDir;

#[test]
fn help_goes_to_stdout_and_shows_examples_and_exit_codes() {
    let dir = TestDir::new();
    for command in [
        "",
        "run ",
        "batch ",
        "kernels ",
        "report ",
        "doctor ",
        "completions ",
        "man ",
        "history ",
        "history add ",
        "history show ",
        "history check ",
    ] {
        let done = dir.run(&format!("{command}--help")).expect(0);
        assert!(done.stdout.contains("Examples:"), "{command}");
        assert!(done.stderr.is_empty());
        let longest = done.stdout.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 100, "{command}: {longest} columns");
    }
    assert!(dir.run("--help").stdout.contains("Exit codes:"));
    dir.run("--version").expect(0);
}

#[test]
fn a_wrong_command_line_is_exit_2_on_stderr() {
    let dir = TestDir::new();
    for line in [
        "",
        "ran",
        "run",
        "run blur --bakend threads",
        "run blur -b thread",
        "run blur --timeout 5",
        "run blur --jobs 0",
        "run blur --size big",
        "run blur -p sigma",
        "run blur --workers 0",
        "run blur --workers 2000",
        "run blur --depth 99",
        "run blur --memory-limit 1KiB",
        "run blur --sandbox=none",
        "run blur --log nonsense=nonsense",
        "batch",
        "kernels blr",
    ] {
        let done = dir.run(line).expect(2);
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{line}");
    }
    dir.run("kernels blr").says("did you mean `blur`");
    dir.run("run blur --workers 0").says("--workers");
    dir.run("run blur -b threads --transport shm").expect(2).says("--transport");
    dir.run("run blur -b sync --workers 2").expect(2).says("--workers");
}

#[test]
fn kernels_are_listed_and_shown() {
    let dir = TestDir::new();
    let table = dir.run("kernels").expect(0).stdout;
    assert!(table.contains("blur") && table.contains("image"));
    let one = dir.run("kernels resize").expect(0).stdout;
    let means = "(default 0: in proportion to the height; half if that is 0 too)";
    for word in ["width", "filter", "brigade run resize", "-p width=800", means] {
        assert!(one.contains(word), "{one}");
    }
    let all = dir.run("kernels --format json").expect(0).json();
    assert_eq!(all["schema"], "brigade.kernels.v1");
    for kernel in all["kernels"].as_array().unwrap() {
        let name = kernel["name"].as_str().unwrap();
        dir.run(&format!("kernels {name}")).expect(0);
    }
}

#[test]
fn completions_and_manual_pages_are_made() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = dir.run(&format!("completions {shell}")).expect(0).stdout;
        assert!(script.contains("threads-gil"), "{shell}");
    }
    assert!(dir.run("man").expect(0).stdout.contains(".TH"));
    dir.run("man --dir .").expect(0);
    assert!(dir.list(".").contains(&"brigade-run.1".to_owned()));
    dir.run("man --dir no/such").expect(2).says("no/such");
}

#[test]
fn the_doctor_tells_of_this_machine() {
    let dir = TestDir::new();
    let text = dir.run("doctor").expect(0).stdout;
    assert!(text.contains("cores"), "{text}");
    dir.run("doctor --format json").expect(0).json();
}
