//! Results of commits, kept one after another.

use std::fs;

use serde_json::{Value, json};

use crate::schemas::Schema;
use crate::skip::skip;
use crate::util::{Done, TestDir, finish};

/// A result of `bench` on this machine.
fn result_on(cpu: &str, medians: &[(&str, f64)]) -> Value {
    let cells = medians.iter().map(|(backend, median)| {
        json!({"experiment": "latency", "case": {"backend": backend}, "metric": "round_trip",
               "unit": "us", "p50": median, "ci95": [median * 0.99, median * 1.01],
               "samples": [median * 0.99, median, median * 1.01], "per_block": [1, 1, 1]})
    });
    json!({"schema": "brigade.bench.v1", "interrupted": false,
           "host": {"cpu": cpu, "cores_usable": 2, "memory_total_bytes": 4_200_000_000_u64,
                    "virtual_machine": "kvm", "kernel": "6.1"},
           "experiments": cells.collect::<Vec<_>>()})
}

fn result(median: f64) -> Value {
    result_on("Xeon", &[("threads", median)])
}

/// What `add` has said.
fn add(dir: &TestDir, result: &Value, commit: &str, more: &str) -> Done {
    dir.write("result.json", result.to_string());
    dir.run(&format!("history add result.json --commit {commit} {more}"))
}

/// A history of so many commits c0, c1 and so on, a minute apart, without git. Those from `at` on
/// take 4 % longer.
fn made(dir: &TestDir, count: usize, at: usize) {
    for i in 0..count {
        let noise = [0.3, -0.5, 0.1, 0.6, -0.2, 0.0, -0.6, 0.4, 0.2, -0.3][i * 7 % 10];
        let level = if i < at { 100.0 } else { 104.0 };
        let time = format!("--time 2026-01-01T00:{i:02}:00Z");
        add(dir, &result(level + noise), &format!("c{i}"), &time).expect(0);
    }
}

const FIGURE: &str = "latency round_trip backend=threads";

#[test]
fn a_step_is_shown_named_drawn_and_fails_the_check() {
    let dir = TestDir::new();
    made(&dir, 40, 28);
    let shown = dir.run("history show --page history.html").expect(0);
    let sentence = format!("{FIGURE}: 4.");
    assert!(shown.stdout.contains(&sentence), "{}", shown.stdout);
    assert!(shown.stdout.contains("slower (") && shown.stdout.contains("since c28"));
    assert!(shown.stdout.contains("note: commits are in the order of their time"), "{shown:?}");
    let page = String::from_utf8(dir.read("history.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("c28 +4."));

    let done = dir.run("history show --format json --order time").expect(0).json();
    assert_eq!((&done["schema"], &done["order"]), (&json!("brigade.history.v1"), &json!("time")));
    let series = &done["series"][0];
    assert_eq!((&series["name"], &series["unit"]), (&json!(FIGURE), &json!("us")));
    assert_eq!(series["machine"], "Xeon, 2 cores, 4 GiB, kvm");
    assert_eq!(series["points"].as_array().unwrap().len(), 40);
    let change = &series["changes"][0];
    assert_eq!((&change["commit"], &change["after"]), (&json!("c28"), &json!("c27")));
    assert_eq!(change["direction"], "slower");
    let end = |i: usize| change["ratio"]["interval"][i].as_f64().unwrap();
    assert!(1.03 < end(0) && end(0) < 1.04 && 1.04 < end(1) && end(1) < 1.05);
    // What `show` writes, `report` reads.
    dir.write("history.json", done.to_string());
    dir.run("report history.json -o again.html").expect(0);

    let checked = dir.run("history check").expect(3);
    assert!(checked.stdout.starts_with("note: ") && checked.stdout.contains("\nworse: "));
    assert!(checked.stdout.contains("--accept c28"), "{}", checked.stdout);
    let checked = dir.run("history check --format json").expect(3).json();
    Schema::read("history.v1").accepts(&done);
    Schema::read("history.v1").accepts(&checked);
    for commit in fs::read_dir(dir.path("brigade-history")).unwrap() {
        for entry in fs::read_dir(commit.unwrap().path()).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            Schema::read("history-entry.v1").accepts(&serde_json::from_str(&text).unwrap());
        }
    }
    assert_eq!(checked["check"]["verdict"], "worse");
    assert_eq!(checked["check"]["slowdowns"][0]["commit"], "c28");
    for (options, code) in [
        ("--tolerance 6%", 0),
        ("--last 11", 0),
        ("--last 12", 3),
        ("--fail-on nothing", 0),
        ("--accept c28", 0),
        ("--accept c27", 0),
        ("--accept c2", 2),
        ("--accept d", 2),
        ("--accept c28 --fail-on change", 0),
    ] {
        dir.run(&format!("history check {options}")).expect(code);
    }
    dir.run("history check --accept d").says("--accept d: the history has no commit");
    dir.run("history check --accept c2").says("the names of 11 commits");
}

#[test]
fn a_stable_and_a_short_history_pass() {
    let dir = TestDir::new();
    made(&dir, 4, 4);
    let done = dir.run("history check").expect(0);
    assert!(done.stdout.contains("4 commits; changes are looked for from"), "{}", done.stdout);
    made(&dir, 30, 30);
    let done = dir.run("history check --fail-on change").expect(0);
    assert!(done.stdout.contains("No slowdown that holds"), "{}", done.stdout);
    assert!(dir.run("history show").expect(0).stdout.contains("No change in any"));
}

#[test]
fn a_figure_is_kept_once() {
    let dir = TestDir::new();
    let time = "--time 2026-01-01";
    let said = add(&dir, &result(100.0), "c0", time).expect(0).stderr;
    assert!(said.contains("kept 1 figure of commit c0 in brigade-history/c0/"), "{said}");
    let files = dir.list("brigade-history/c0");
    assert_eq!(files.len(), 1);
    let file = format!("brigade-history/c0/{}", files[0]);
    let first = dir.read(&file);

    add(&dir, &result(100.0), "c0", time).expect(0).says("has it already");
    assert_eq!(dir.read(&file), first, "nothing changed");
    let refused = add(&dir, &result(101.0), "c0", time).expect(2);
    refused.says("--replace");
    assert_eq!(dir.read(&file), first);
    add(&dir, &result(101.0), "c0", &format!("{time} --replace")).expect(0).says("replaced");
    assert_eq!(dir.list("brigade-history/c0"), files);
    let entry: Value = serde_json::from_slice(&dir.read(&file)).unwrap();
    assert_eq!(entry["schema"], "brigade.history-entry.v1");
    assert_eq!(entry["figures"][0]["median"], 101.0);
    assert_eq!(
        (&entry["commit"], &entry["commit_time"]),
        (&json!("c0"), &json!("2026-01-01T00:00:00Z"))
    );

    // Another result, one of whose figures is there.
    let two = result_on("Xeon", &[("threads", 102.0), ("async", 50.0)]);
    add(&dir, &two, "c0", time).expect(2).says("already has latency round_trip backend=threads");
    add(&dir, &two, "c0", &format!("{time} --replace")).expect(0);
    let shown = dir.run("history show --format json").expect(0).json();
    let medians: Vec<&Value> = shown["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| &series["points"][0]["median"])
        .collect();
    assert_eq!(medians, [&json!(50.0), &json!(102.0)]);
    // The same figure in two results at once.
    dir.write("a.json", result(1.0).to_string());
    let done = dir.run("history add a.json a.json --commit c1 --time 2026-01-02").expect(2);
    done.says("add one of them");
    assert_eq!(dir.list("brigade-history"), ["c0"]);
}

#[test]
fn machines_are_kept_apart_and_named() {
    let dir = TestDir::new();
    for i in 0..30 {
        let other = if i % 2 == 0 { "Xeon" } else { "EPYC" };
        let level = if i % 2 == 0 { 100.0 } else { 140.0 };
        let time = format!("--time 2026-01-01T00:{i:02}:00Z");
        let result = result_on(other, &[("threads", level)]);
        let done = add(&dir, &result, &format!("c{i}"), &time).expect(0);
        assert_eq!(done.stderr.contains("figures of other machines"), i > 0, "{}", done.stderr);
    }
    // Both machines may measure the same commit.
    add(&dir, &result_on("EPYC", &[("threads", 140.0)]), "c0", "--time 2026-01-01").expect(0);
    let shown = dir.run("history show").expect(0).stdout;
    assert!(shown.contains("note: figures of 2 different machines"), "{shown}");
    assert!(shown.contains("\nOn EPYC, 2 cores") && shown.contains("\nOn Xeon, 2 cores"));
    let done = dir.run("history check").expect(0).stdout;
    assert!(done.contains("2 series looked at"), "{done}");
}

#[test]
fn results_of_ab_are_kept_by_what_they_say_of_head() {
    let dir = TestDir::new();
    let ab =
        "ab --base true --head true --blocks 5 --fail-on worse --metric wall,cpu --format json";
    let measured = dir.run(&format!("{ab} --output ab.json")).expect(0).json();
    dir.run("history add ab.json --commit c0 --time 2026-01-01").expect(0);
    let shown = dir.run("history show --format json --name 'ab wall'").expect(0).json();
    assert_eq!(shown["series"].as_array().unwrap().len(), 1);
    let point = &shown["series"][0]["points"][0];
    assert_eq!(point["median"], measured["cells"][0]["head"]);
    assert_eq!((&point["samples"], &point["blocks"]), (&json!(5), &json!(5)));
    dir.run("history show --name ab").expect(0);
}

#[test]
fn what_is_wrong_is_exit_2_and_leaves_nothing() {
    let dir = TestDir::new();
    dir.write("page.json", "<html>");
    dir.write("list.json", "[1]");
    dir.write("run.json", r#"{"schema": "brigade.run.v1"}"#);
    dir.write("good.json", result(1.0).to_string());
    let mut cut = result(1.0);
    cut["interrupted"] = json!(true);
    dir.write("cut.json", cut.to_string());
    for (line, says) in [
        ("page.json --commit c --time 2026-01-01", "page.json: it is not JSON"),
        ("list.json --commit c --time 2026-01-01", "list.json: it is not a result"),
        ("run.json --commit c --time 2026-01-01", "run.json: its schema is brigade.run.v1"),
        ("cut.json --commit c --time 2026-01-01", "cut.json: it was interrupted"),
        ("none.json --commit c --time 2026-01-01", "none.json"),
        ("good.json run.json --commit c --time 2026-01-01", "run.json"),
        ("good.json --commit c", "--time"),
        ("good.json --commit ../c --time 2026-01-01", "--commit ../c: expected letters"),
        ("good.json --commit '' --time 2026-01-01", "expected letters"),
        ("good.json --commit c --time noon", "2026-01-31T12:00:00Z"),
        ("good.json", "--commit"),
    ] {
        let done = dir.run(&format!("history add {line} --repo /")).expect(2);
        assert!(done.stderr.contains(says), "{line}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{line}: {}", done.stderr);
    }
    assert!(!dir.path("brigade-history").exists());
    for command in ["show", "check"] {
        dir.run(&format!("history {command}")).expect(2).says("`brigade history add` makes it");
    }
    fs::create_dir(dir.path("brigade-history")).unwrap();
    dir.run("history check").expect(2).says("has no results");
    dir.run("history add good.json --commit c --time 2026-01-01").expect(0);
    dir.run("history check --name nope").expect(2).says("there are latency round_trip");
    dir.run("history show --order first-parent --repo /").expect(2).says("no git repository");
    dir.run("history show --page no/such/page.html").expect(2).says("no/such/page.html");
    for line in ["", "history", "history check --last 0", "history check --tolerance 5"] {
        dir.run(line).expect(2);
    }
}

#[test]
fn files_of_a_history_that_are_damaged_are_named() {
    let dir = TestDir::new();
    made(&dir, 2, 2);
    let file = format!("brigade-history/c1/{}", dir.list("brigade-history/c1")[0]);
    let whole = dir.read(&file);
    for (text, says) in [
        ("", "was it saved"),
        ("{}", "it is no part of a history"),
        (r#"{"schema": "brigade.history-entry.v1"}"#, "it is not whole"),
    ] {
        dir.write(&file, text);
        dir.run("history check").expect(2).says(says);
        dir.run("history check").says(&file);
    }
    dir.write("brigade-history/c0/copy.json", &whole);
    dir.write(&file, &whole);
    dir.run("history check").expect(2).says("in the directory of another");
    fs::remove_file(dir.path("brigade-history/c0/copy.json")).unwrap();
    dir.write("brigade-history/c1/copy.json", &whole);
    dir.run("history check").expect(2).says("remove one of them");
    fs::remove_file(dir.path("brigade-history/c1/copy.json")).unwrap();
    // What else is in the branch is not its business.
    dir.write("brigade-history/README.md", "# History");
    dir.write("brigade-history/.git/config", "x");
    dir.run("history check").expect(0);
}

#[test]
fn git_says_which_commit_it_is_when_it_was_and_what_came_before() {
    let dir = TestDir::new();
    let git = |script: &str| {
        let setup = "set -e; export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a \
                     GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; ";
        finish(dir.shell(&format!("{setup}{script}")).spawn().unwrap())
    };
    if git("git --version").code != Some(0) {
        return skip("git", "there is no git");
    }
    git("git init -q -b main repo && mkdir repo/sub").expect(0);
    let at = "--repo repo/sub --dir history";
    for i in 0..30 {
        // The clocks of those who commit do not agree: the last ten are from before.
        let minute = if i < 20 { 30 + i } else { i - 20 };
        git(&format!(
            "cd repo && GIT_COMMITTER_DATE=2026-01-01T00:{minute:02}:00Z \
             git commit -q --allow-empty -m 'Change {i}'"
        ))
        .expect(0);
        let noise = [0.3, -0.5, 0.1, 0.6, -0.2, 0.0, -0.6, 0.4, 0.2, -0.3][i * 7 % 10];
        let level = if i < 20 { 100.0 } else { 104.0 };
        // One of them was not measured.
        if i != 19 {
            add(&dir, &result(level + noise), "HEAD", at).expect(0);
        }
    }
    // A branch.
    git("cd repo && git checkout -q -b side && git commit -q --allow-empty -m Side").expect(0);
    add(&dir, &result(300.0), "side", at).expect(0);
    git("cd repo && git checkout -q main").expect(0);

    let shown = dir.run(&format!("history show --format json {at}")).expect(0).json();
    assert_eq!(shown["order"], "first-parent");
    assert!(shown["warnings"][0].as_str().unwrap().starts_with("1 commit left out"), "{shown}");
    let series = &shown["series"][0];
    assert_eq!(series["points"].as_array().unwrap().len(), 29);
    assert_eq!(series["points"][0]["time"], "2026-01-01T00:30:00Z");
    let change = &series["changes"][0];
    assert_eq!((&change["subject"], &change["unmeasured"]), (&json!("Change 20"), &json!(1)));
    let checked = dir.run(&format!("history check {at}")).expect(3);
    assert!(checked.stdout.contains("(Change 20); 1 commit between "));
    // By the wrong clocks the slow ones come first.
    let by_time = dir.run(&format!("history show --format json --order time {at}"));
    assert_eq!(by_time.expect(0).json()["series"][0]["points"][0]["median"], 104.3);

    // A clone that knows the newest commit alone orders by time, and says so.
    git("git clone -q --depth 1 file://$PWD/repo shallow").expect(0);
    let done = dir.run("history show --repo shallow --dir history").expect(0);
    assert!(done.stdout.contains("it is a shallow clone"), "{}", done.stdout);
    dir.run("history show --order first-parent --repo shallow --dir history").expect(2);
    let done = dir.run(&format!("history add result.json --commit nope {at}")).expect(2);
    done.says("git knows no commit nope");
    dir.run(&format!("history show --tip nope {at}")).expect(0);
    // Two clones that add results merge without conflicts.
    git("cp -r history other && git init -q -b results branch && mv history/* branch/ && \
         cd branch && git add . && git commit -q -m base && git branch second")
    .expect(0);
    let at = "--repo repo --dir branch";
    add(&dir, &result(1.0), "r1", &format!("{at} --time 2026-02-01")).expect(0);
    git("cd branch && git add . && git commit -q -m first && git checkout -q second").expect(0);
    add(&dir, &result(2.0), "r2", &format!("{at} --time 2026-02-02")).expect(0);
    git("cd branch && git add . && git commit -q -m second && git merge -q results").expect(0);
    let merged = dir.run(&format!("history show --order time --format json {at}")).expect(0);
    assert_eq!(merged.json()["series"][0]["points"].as_array().unwrap().len(), 32);
}

#[test]
fn names_in_a_history_give_no_orders() {
    let dir = TestDir::new();
    let hostile = "a\u{1b}[2J\n::error::x\u{202e}<script>";
    let result = result_on(hostile, &[(hostile, 1.0)]);
    add(&dir, &result, "c0", "--time 2026-01-01").expect(0);
    for line in ["show", "check", "show --format json", "show --page page.html", "show --name zz"] {
        let done = dir.run(&format!("history {line}"));
        for text in [&done.stdout, &done.stderr] {
            let harmless = |c: char| c == '\n' || brigade_proto::is_printable(c);
            assert!(text.chars().all(harmless), "{line}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("::")), "{line}: {text}");
        }
    }
    let page = String::from_utf8(dir.read("page.html")).unwrap();
    assert!(!page.contains("<script") && page.chars().all(|c| c == '\n' || !c.is_control()));
}
