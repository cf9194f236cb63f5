//! What the program says about itself.

use crate::util::Kitchen;

#[test]
fn help_goes_to_stdout_and_shows_examples_and_exit_codes() {
    let kitchen = Kitchen::new();
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
        let done = kitchen.run(&format!("{command}--help")).expect(0);
        assert!(done.stdout.contains("Examples:"), "{command}");
        assert!(done.stderr.is_empty());
        let longest = done.stdout.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 100, "{command}: {longest} columns");
    }
    assert!(kitchen.run("--help").stdout.contains("Exit codes:"));
    kitchen.run("--version").expect(0);
}

#[test]
fn a_wrong_command_line_is_exit_2_on_stderr() {
    let kitchen = Kitchen::new();
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
        let done = kitchen.run(line).expect(2);
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{line}");
    }
    kitchen.run("kernels blr").says("did you mean `blur`");
    kitchen.run("run blur --workers 0").says("--workers");
    kitchen.run("run blur -b threads --transport shm").expect(2).says("--transport");
    kitchen.run("run blur -b sync --workers 2").expect(2).says("--workers");
}

#[test]
fn kernels_are_listed_and_shown() {
    let kitchen = Kitchen::new();
    let table = kitchen.run("kernels").expect(0).stdout;
    assert!(table.contains("blur") && table.contains("image"));
    let one = kitchen.run("kernels resize").expect(0).stdout;
    let means = "(default 0: in proportion to the height; half if that is 0 too)";
    for word in ["width", "filter", "brigade run resize", "-p width=800", means] {
        assert!(one.contains(word), "{one}");
    }
    let all = kitchen.run("kernels --format json").expect(0).json();
    assert_eq!(all["schema"], "brigade.kernels.v1");
    for kernel in all["kernels"].as_array().unwrap() {
        let name = kernel["name"].as_str().unwrap();
        kitchen.run(&format!("kernels {name}")).expect(0);
    }
}

#[test]
fn completions_and_manual_pages_are_made() {
    let kitchen = Kitchen::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = kitchen.run(&format!("completions {shell}")).expect(0).stdout;
        assert!(script.contains("threads-gil"), "{shell}");
    }
    assert!(kitchen.run("man").expect(0).stdout.contains(".TH"));
    kitchen.run("man --dir .").expect(0);
    assert!(kitchen.list(".").contains(&"brigade-run.1".to_owned()));
    kitchen.run("man --dir no/such").expect(2).says("no/such");
}

#[test]
fn the_doctor_tells_of_this_machine() {
    let kitchen = Kitchen::new();
    let text = kitchen.run("doctor").expect(0).stdout;
    assert!(text.contains("cores"), "{text}");
    kitchen.run("doctor --format json").expect(0).json();
}
