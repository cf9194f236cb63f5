//! `brigade ab` and `brigade compare`.

use serde_json::{Value, json};

use crate::skip::skip;
use crate::util::TestDir;

fn samples<'a>(cell: &'a Value, of: &str) -> &'a Vec<Value> {
    cell[of].as_array().unwrap()
}

#[test]
fn ab_finds_a_command_that_takes_many_times_as_long() {
    let dir = TestDir::new();
    // The margin is wide: a busy machine adds up to 40 ms to a command, and it is not
    // what is tested.
    let command = "ab --base 'sleep 0.02' --head 'sleep 0.2' --blocks 12 --format json";
    let done = dir.run(command).expect(3).json();
    assert_eq!(done["schema"], "brigade.compare.v1");
    assert_eq!((&done["verdict"], &done["kind"]), (&json!("worse"), &json!("ab")));
    let cell = &done["cells"][0];
    assert_eq!((&cell["verdict"], &cell["confirmed"]), (&json!("worse"), &json!(true)));
    assert_eq!(cell["metric"], "wall");
    let [low, high] = [0, 1].map(|i| cell["ratio"]["interval"][i].as_f64().unwrap());
    assert!(1.05 < low && low < high && high < 12.0, "{low} {high}");
    for of in ["base_samples", "again_samples", "head_samples"] {
        assert_eq!(samples(cell, of).len(), 12);
        assert_eq!(samples(&cell["second"], of).len(), 12);
    }
    assert_eq!(cell["second"]["verdict"], "worse");
    assert_eq!(done["blocks"].as_array().unwrap().len(), 24);
    assert_eq!(done["blocks"][23]["experiment"], "ab, second round");
}

#[test]
fn ab_says_better_and_too_little_time() {
    let dir = TestDir::new();
    let command = "ab --base 'sleep 0.2' --head 'sleep 0.02' --blocks 12 --format json";
    let done = dir.run(command).expect(0).json();
    assert_eq!(done["verdict"], "better");
    assert!(done["cells"][0]["confirmed"].is_null());

    let command = "ab --base 'sleep 0.005' --head 'sleep 0.005' --blocks 5 --format json";
    let done = dir.run(command).expect(4).json();
    assert_eq!(done["verdict"], "inconclusive");
    assert_eq!(done["cells"][0]["why"], "5 blocks run, and a verdict needs 8");
    assert_eq!(done["cells"][0]["ended_by"], "blocks");
    // What would help is what had ended it, not what was not used up.
    let done = dir.run(&command.replace("--format json", "")).expect(4);
    assert!(
        done.stdout.contains("So few blocks find nothing. Run more blocks (--blocks)."),
        "{done:#?}"
    );
    assert!(done.stdout.contains("fails with exit code 4"), "{done:#?}");
    let done = dir.run(&command.replace("--format json", "--fail-on worse")).expect(0);
    assert!(done.stdout.contains("Inconclusive passes, as --policy worse says"), "{done:#?}");
}

#[test]
fn ab_compares_several_metrics() {
    let dir = TestDir::new();
    let command = "ab --base true --head true --metric wall,cpu,peak-memory --blocks 5 \
                   --fail-on worse --format json --output ab.json";
    let done = dir.run(command).expect(0);
    let json = done.json();
    let metrics: Vec<&str> = json["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["metric"].as_str().unwrap())
        .collect();
    assert_eq!(metrics, ["wall", "cpu", "peak-memory"]);
    assert_eq!(json["cells"][2]["unit"], "bytes");
    assert_eq!(std::fs::read_to_string(dir.path("ab.json")).unwrap(), done.stdout);
}

#[test]
fn commands_that_do_not_work_are_refused() {
    let dir = TestDir::new();
    // It could be started, so it is not the command line that is wrong.
    let done = dir.run("ab --base true --head false").expect(1);
    assert!(done.stderr.contains("--head `false` exited with status 1"), "{}", done.stderr);
    for (command, words) in [
        ("ab --base /no/such --head true", "--base `/no/such`: cannot be started"),
        ("ab --base '' --head true", "--base an empty command"),
        ("ab --base './base | cat' --head true", "`|` has a meaning for a shell only"),
        ("ab --base true --head 'x $HOME'", "--shell has a shell run it"),
        ("ab --base '{n}' --head true --parameter n=1,1", "--parameter n: it is there twice"),
        ("ab --base true --head true --parameter n=1", "no command has {n} in it"),
        ("ab --base true --head true --parameter n", "as in size=10,100"),
        ("ab --base true --head true --name ''", "a name cannot be empty"),
        ("ab --base true --head true --tolerance 5", "as in 5%"),
        ("compare none.json none.json", "none.json"),
    ] {
        let done = dir.run(command).expect(2);
        assert!(done.stderr.contains(words), "{command}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{command}");
    }
}

/// A command that works twice, to be loaded, and so many times more; then it does `end`.
fn works(dir: &TestDir, times: usize, end: &str) -> String {
    let script = format!(
        "echo x >> runs\nif [ $(wc -l < runs) -gt {times} ]; then\n  {end}\nfi\nsleep 0.01\n"
    );
    dir.write("works.sh", script);
    "sh works.sh".to_owned()
}

#[test]
fn ab_keeps_what_it_measured_before_a_command_failed() {
    let dir = TestDir::new();
    let base = works(&dir, 9, "exit 7");
    let command = format!(
        "ab --base '{base}' --head 'sleep 0.01' --budget 1000s --format json --output ab.json"
    );
    let done = dir.run(&command).expect(1);
    assert!(done.stderr.contains("`sh works.sh` exited with status 7"), "{}", done.stderr);
    let json = done.json();
    assert_eq!((&json["verdict"], &json["interrupted"]), (&json!("inconclusive"), &json!(false)));
    let cell = &json["cells"][0];
    assert!(cell["why"].as_str().unwrap().contains("exited with status 7, after 4 blocks"));
    assert_eq!(cell["blocks"], 4);
    // Four whole blocks, and perhaps what ran of the fifth.
    assert!((4..=5).contains(&samples(cell, "base_samples").len()));
    assert_eq!(json["blocks"].as_array().unwrap().len(), 5);
    assert_eq!(std::fs::read_to_string(dir.path("ab.json")).unwrap(), done.stdout);
}

#[test]
fn ab_keeps_what_it_measured_before_it_was_interrupted() {
    let dir = TestDir::new();
    // The command itself tells when: it interrupts who has started it.
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let base = works(&dir, 9, &format!("kill -{signal} $PPID; sleep 1000"));
        let command = format!(
            "ab --base '{base}' --head 'sleep 0.01' --budget 1000s --format json --output ab.json"
        );
        let done = dir.run(&command).expect(code);
        let json: Value =
            serde_json::from_str(&std::fs::read_to_string(dir.path("ab.json")).unwrap()).unwrap();
        assert_eq!(
            (&json["verdict"], &json["interrupted"]),
            (&json!("inconclusive"), &json!(true))
        );
        assert_eq!(json["cells"][0]["why"], "interrupted after 4 blocks");
        assert!(samples(&json["cells"][0], "head_samples").len() >= 4);
        assert_eq!(json["blocks"][0]["experiment"], "ab");
        assert_eq!(done.json(), json);
        std::fs::remove_file(dir.path("runs")).unwrap();
    }
    // Nothing had been compared yet, and that is told, too.
    let base = works(&dir, 0, "kill -INT $PPID; sleep 1000");
    let command = format!("ab --base '{base}' --head true --output ab.json --format json");
    let json = dir.run(&command).expect(130).json();
    assert_eq!(json["cells"][0]["why"], "interrupted after 0 blocks");
    assert!(
        json["cells"][0]["base"].is_null() && samples(&json["cells"][0], "base_samples").is_empty()
    );
    std::fs::remove_file(dir.path("runs")).unwrap();
    let done = dir.run(&command.replace(" --format json", "")).expect(130);
    assert!(done.stdout.contains("interrupted after 0 blocks"), "{}", done.stdout);
}

#[test]
fn a_command_that_hangs_fails_and_ends_the_comparison() {
    let dir = TestDir::new();
    let base = works(&dir, 5, "sleep 1000");
    let command =
        format!("ab --base '{base}' --head 'sleep 0.01' --budget 1000s --timeout 5s --format json");
    let done = dir.run(&command).expect(1);
    assert!(done.stderr.contains("as it ran for longer than 5s"), "{}", done.stderr);
    assert_eq!(done.json()["cells"][0]["blocks"], 2);
    let done = dir.run("ab --base 'sleep 1000' --head true --timeout 100ms").expect(1);
    assert!(done.stderr.contains("--base `sleep 1000` was ended"), "{}", done.stderr);
}

#[test]
fn ab_has_names_values_and_commands_around_the_runs() {
    let dir = TestDir::new();
    let around = "--setup 'echo $BRIGADE_SIDE > set-up.{n}' --prepare 'echo x >> prepared' \
                  --cleanup 'rm -f set-up.{n}; echo $BRIGADE_SIDE {n} >> cleaned' --warmup 2";
    let command = format!(
        "ab --shell --base 'sleep {{n}} | cat' --head 'test -e set-up.{{n}} && sleep {{n}}' \
         --parameter n=0.01,0.02 --name naps --base-name 1a2b --head-name 3c4d {around} --blocks 3 \
         --fail-on worse --format json --export bencher=bencher.json --export markdown=ab.md"
    );
    let json = dir.run(&command).expect(0).json();
    let cells = json["cells"].as_array().unwrap();
    let naps = |cell: &Value| (cell["experiment"].clone(), cell["case"].clone());
    assert_eq!(naps(&cells[0]), (json!("naps"), json!({"n": 0.01})));
    assert_eq!(naps(&cells[1]), (json!("naps"), json!({"n": 0.02})));
    assert_eq!((&json["base"]["name"], &json["head"]["name"]), (&json!("1a2b"), &json!("3c4d")));
    assert_eq!(json["base"]["command"], "sleep {n} | cat");
    assert_eq!(json["blocks"][0]["experiment"], "naps");
    let text = |name: &str| String::from_utf8(dir.read(name)).unwrap();
    assert_eq!(text("cleaned"), "base 0.01\nhead 0.01\nbase 0.02\nhead 0.02\n");
    // Two times: two runs of each side to warm up, and three blocks of three runs.
    assert_eq!(text("prepared").lines().count(), 2 * (2 * 2 + 3 * 3));
    assert!(text("bencher.json").contains("\"naps wall n=0.01\""));
    assert!(text("ab.md").contains("Base is 1a2b, head is 3c4d."), "{}", text("ab.md"));
}

#[test]
fn instructions_are_those_of_the_program_and_hardly_vary() {
    let dir = TestDir::new();
    let command = "ab --base 'seq 10' --head 'seq 20000' --metric instructions,wall --blocks 1 \
                   --fail-on worse --format json";
    let done = dir.run(command);
    if done.code == Some(2) && done.stderr.contains("instructions cannot be counted here") {
        return skip("instructions", "neither the processor nor valgrind counts instructions");
    }
    let json = done.expect(0).json();
    let of = |what: &str| json["cells"][0][what].as_f64().unwrap();
    assert!(of("head") > 1.5 * of("base"), "{json}");
    let again = json["cells"][0]["again_samples"][0].as_f64().unwrap();
    assert!((again / of("base") - 1.0).abs() < 0.02, "{json}");
}

#[test]
fn a_status_is_ignored_if_it_is_always_the_same() {
    let dir = TestDir::new();
    let command = "ab --shell --ignore-failure --blocks 3 --fail-on worse --base 'exit 3' --head";
    dir.run(&format!("{command} 'sleep 0.001; exit 3'")).expect(0);
    // What ends early by another way out is not as fast as it looks.
    let done = dir.run(&format!("{command} 'exit 4'")).expect(1);
    assert!(done.stderr.contains("exited with status 4, and the first run of base with 3"));
    dir.run(&format!("{command} 'kill -9 $$'")).expect(1).says("SIGKILL");
}

#[test]
fn the_budget_is_that_of_both_rounds() {
    let dir = TestDir::new();
    let command = "ab --base 'sleep 0.02' --head 'sleep 0.1' --budget 3s --format json";
    let json = dir.run(command).expect(3).json();
    let cell = &json["cells"][0];
    assert_eq!((&cell["budget_s"], &cell["confirmed"]), (&json!(3.0), &json!(true)));
    // The second round errs more often, so it needs less.
    assert_eq!(cell["ratio"]["confidence"].as_f64().map(|level| level > 0.989), Some(true));
    let second = &cell["second"]["ratio"]["confidence"];
    assert!(second.as_f64().is_some_and(|level| (0.949..0.989).contains(&level)), "{second}");
}

#[test]
fn a_form_that_has_only_times_is_refused_where_there_are_none() {
    let dir = TestDir::new();
    let none = "--metric peak-memory,user --export hyperfine=times.json";
    let done = dir.run(&format!("ab --base 'touch ran' --head true {none}")).expect(2);
    assert!(done.stderr.contains("--export hyperfine"), "{}", done.stderr);
    assert!(!dir.path("ran").exists() && !dir.path("times.json").exists());
    result(&dir, "base.json", "a", 1.2);
    let command = "compare base.json base.json --export hyperfine=times.json";
    dir.run(&format!("{command} --relative")).expect(2);
    assert!(!dir.path("times.json").exists());
    dir.run(command).expect(0);
    assert!(dir.path("times.json").exists());
}

fn result(dir: &TestDir, name: &str, cpu: &str, times: f64) {
    let cell = |backend: &str, us: f64| {
        let samples: Vec<f64> = (0..20).map(|i| us * (1.0 + f64::from(i % 4) / 1000.0)).collect();
        json!({"experiment": "latency", "case": {"backend": backend, "workers": 1},
               "metric": "round_trip", "unit": "us", "samples": samples})
    };
    let cells = [cell("threads", 10.0), cell("processes", 10.0 * times)];
    let value = json!({"schema": "brigade.bench.v1", "host": {"cpu": cpu}, "experiments": cells});
    dir.write(name, value.to_string());
}

#[test]
fn saved_results_are_compared_cell_by_cell() {
    let dir = TestDir::new();
    result(&dir, "base.json", "a", 1.2);
    result(&dir, "same.json", "a", 1.2);
    result(&dir, "slow.json", "a", 1.5);
    result(&dir, "other.json", "b", 1.5);
    let done = dir.run("compare base.json same.json --format json").expect(0).json();
    assert_eq!(done["verdict"], "same");
    let done = dir.run("compare base.json slow.json --format json").expect(3).json();
    assert_eq!(done["cells"].as_array().unwrap().len(), 2);
    dir.run("compare base.json slow.json --tolerance 30%").expect(0);
    let done = dir.run("compare base.json other.json --format json").expect(3);
    assert!(done.stderr.contains("different machines"), "{}", done.stderr);
    assert_eq!(done.json()["cells"][0]["unit"], "ratio");
}

#[test]
fn what_one_result_lacks_is_inconclusive() {
    let dir = TestDir::new();
    result(&dir, "base.json", "a", 1.2);
    let mut value: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path("base.json")).unwrap()).unwrap();
    value["experiments"][1]["samples"] = json!([]);
    value["experiments"][1]["error"] = json!("a worker died");
    dir.write("failed.json", value.to_string());
    value["experiments"].as_array_mut().unwrap().pop();
    dir.write("short.json", value.to_string());
    for (head, why) in [("failed.json", "a worker died"), ("short.json", "no such figure")] {
        let done = dir.run(&format!("compare base.json {head}")).expect(4);
        assert!(done.stdout.contains(why), "{}", done.stdout);
        dir.run(&format!("compare {head} base.json")).expect(4);
        dir.run(&format!("compare base.json {head} --fail-on worse")).expect(0);
    }
}

#[test]
fn verdicts_go_where_others_read_them() {
    let dir = TestDir::new();
    result(&dir, "base.json", "a", 1.2);
    result(&dir, "slow.json", "a", 1.5);
    let command = "compare base.json slow.json --export junit=gate.xml --export csv=gate.csv \
                   --export github=- --export json=gate.json";
    let done = dir.run(command).expect(3);
    assert!(done.stdout.contains("worse") && done.stdout.contains("::error"), "{}", done.stdout);
    let read = |name: &str| std::fs::read_to_string(dir.path(name)).unwrap();
    assert!(read("gate.xml").contains("<failure"));
    assert_eq!(read("gate.csv").lines().count(), 3);
    let json: Value = serde_json::from_str(&read("gate.json")).unwrap();
    assert_eq!(json["schema"], "brigade.compare.v1");
    for (wrong, words) in [
        ("compare base.json slow.json --export xml=a", "there is no format"),
        ("compare base.json slow.json --export junit", "FORMAT=FILE"),
        ("bench latency --sizes 0 --blocks 1 --export junit=a.xml", "gives none"),
    ] {
        let done = dir.run(wrong).expect(2);
        assert!(done.stderr.contains(words), "{}", done.stderr);
        assert!(!dir.path("a.xml").exists());
    }
}
