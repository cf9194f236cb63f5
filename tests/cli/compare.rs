//! `brigade ab` and `brigade compare`.

use serde_json::{Value, json};

use crate::util::Kitchen;

fn samples<'a>(cell: &'a Value, of: &str) -> &'a Vec<Value> {
    cell[of].as_array().unwrap()
}

#[test]
fn ab_finds_a_command_that_takes_many_times_as_long() {
    let kitchen = Kitchen::new();
    // The margin is wide: a busy machine adds up to 40 ms to a command, and it is not
    // what is tested.
    let command = "ab --base 'sleep 0.02' --head 'sleep 0.2' --blocks 12 --format json";
    let done = kitchen.run(command).expect(3).json();
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
    let kitchen = Kitchen::new();
    let command = "ab --base 'sleep 0.2' --head 'sleep 0.02' --blocks 12 --format json";
    let done = kitchen.run(command).expect(0).json();
    assert_eq!(done["verdict"], "better");
    assert!(done["cells"][0]["confirmed"].is_null());

    let command = "ab --base 'sleep 0.005' --head 'sleep 0.005' --blocks 5 --format json";
    let done = kitchen.run(command).expect(4).json();
    assert_eq!(done["verdict"], "inconclusive");
    assert!(done["cells"][0]["why"].as_str().unwrap().contains("--budget"));
    kitchen.run(&format!("{command} --fail-on worse")).expect(0);
}

#[test]
fn ab_compares_several_metrics() {
    let kitchen = Kitchen::new();
    let command = "ab --base true --head true --metric wall,cpu,peak-memory --blocks 5 \
                   --fail-on worse --format json --output ab.json";
    let done = kitchen.run(command).expect(0);
    let json = done.json();
    let metrics: Vec<&str> = json["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["metric"].as_str().unwrap())
        .collect();
    assert_eq!(metrics, ["wall", "cpu", "peak-memory"]);
    assert_eq!(json["cells"][2]["unit"], "bytes");
    assert_eq!(std::fs::read_to_string(kitchen.path("ab.json")).unwrap(), done.stdout);
}

#[test]
fn commands_that_do_not_work_are_refused() {
    let kitchen = Kitchen::new();
    for (command, words) in [
        ("ab --base true --head false", "--head `false` exited with status 1"),
        ("ab --base /no/such --head true", "--base `/no/such`: cannot be started"),
        ("ab --base '' --head true", "--base an empty command"),
        ("ab --base true --head true --tolerance 5", "as in 5%"),
        ("compare none.json none.json", "none.json"),
    ] {
        let done = kitchen.run(command).expect(2);
        assert!(done.stderr.contains(words), "{command}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{command}");
    }
}

/// A command that works twice, to be loaded, and so many times more; then it does `end`.
fn works(kitchen: &Kitchen, times: usize, end: &str) -> String {
    let script = format!(
        "echo x >> runs\nif [ $(wc -l < runs) -gt {times} ]; then\n  {end}\nfi\nsleep 0.01\n"
    );
    kitchen.write("works.sh", script);
    "sh works.sh".to_owned()
}

#[test]
fn ab_keeps_what_it_measured_before_a_command_failed() {
    let kitchen = Kitchen::new();
    let base = works(&kitchen, 9, "exit 7");
    let command = format!(
        "ab --base '{base}' --head 'sleep 0.01' --budget 1000s --format json --output ab.json"
    );
    let done = kitchen.run(&command).expect(1);
    assert!(done.stderr.contains("`sh works.sh` exited with status 7"), "{}", done.stderr);
    let json = done.json();
    assert_eq!((&json["verdict"], &json["interrupted"]), (&json!("inconclusive"), &json!(false)));
    let cell = &json["cells"][0];
    assert!(cell["why"].as_str().unwrap().contains("exited with status 7, after 4 blocks"));
    assert_eq!(cell["blocks"], 4);
    // Four whole blocks, and perhaps what ran of the fifth.
    assert!((4..=5).contains(&samples(cell, "base_samples").len()));
    assert_eq!(json["blocks"].as_array().unwrap().len(), 5);
    assert_eq!(std::fs::read_to_string(kitchen.path("ab.json")).unwrap(), done.stdout);
}

#[test]
fn ab_keeps_what_it_measured_before_it_was_interrupted() {
    let kitchen = Kitchen::new();
    // The command itself tells when: it interrupts who has started it.
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let base = works(&kitchen, 9, &format!("kill -{signal} $PPID; sleep 1000"));
        let command = format!(
            "ab --base '{base}' --head 'sleep 0.01' --budget 1000s --format json --output ab.json"
        );
        let done = kitchen.run(&command).expect(code);
        let json: Value =
            serde_json::from_str(&std::fs::read_to_string(kitchen.path("ab.json")).unwrap())
                .unwrap();
        assert_eq!(
            (&json["verdict"], &json["interrupted"]),
            (&json!("inconclusive"), &json!(true))
        );
        assert_eq!(json["cells"][0]["why"], "interrupted after 4 blocks");
        assert!(samples(&json["cells"][0], "head_samples").len() >= 4);
        assert_eq!(json["blocks"][0]["experiment"], "ab");
        assert_eq!(done.json(), json);
        std::fs::remove_file(kitchen.path("runs")).unwrap();
    }
    // Nothing had been compared yet, and that is told, too.
    let base = works(&kitchen, 0, "kill -INT $PPID; sleep 1000");
    let command = format!("ab --base '{base}' --head true --output ab.json --format json");
    let json = kitchen.run(&command).expect(130).json();
    assert_eq!(json["cells"][0]["why"], "interrupted after 0 blocks");
    assert!(
        json["cells"][0]["base"].is_null() && samples(&json["cells"][0], "base_samples").is_empty()
    );
    std::fs::remove_file(kitchen.path("runs")).unwrap();
    let done = kitchen.run(&command.replace(" --format json", "")).expect(130);
    assert!(done.stdout.contains("interrupted after 0 blocks"), "{}", done.stdout);
}

#[test]
fn a_command_that_hangs_fails_and_ends_the_comparison() {
    let kitchen = Kitchen::new();
    let base = works(&kitchen, 5, "sleep 1000");
    let command =
        format!("ab --base '{base}' --head 'sleep 0.01' --budget 1000s --timeout 5s --format json");
    let done = kitchen.run(&command).expect(1);
    assert!(done.stderr.contains("as it ran for longer than 5s"), "{}", done.stderr);
    assert_eq!(done.json()["cells"][0]["blocks"], 2);
    let done = kitchen.run("ab --base 'sleep 1000' --head true --timeout 100ms").expect(2);
    assert!(done.stderr.contains("--base `sleep 1000` was ended"), "{}", done.stderr);
}

#[test]
fn a_form_that_has_only_times_is_refused_where_there_are_none() {
    let kitchen = Kitchen::new();
    let none = "--metric peak-memory,user --export hyperfine=times.json";
    let done = kitchen.run(&format!("ab --base 'touch ran' --head true {none}")).expect(2);
    assert!(done.stderr.contains("--export hyperfine"), "{}", done.stderr);
    assert!(!kitchen.path("ran").exists() && !kitchen.path("times.json").exists());
    result(&kitchen, "base.json", "a", 1.2);
    let command = "compare base.json base.json --export hyperfine=times.json";
    kitchen.run(&format!("{command} --relative")).expect(2);
    assert!(!kitchen.path("times.json").exists());
    kitchen.run(command).expect(0);
    assert!(kitchen.path("times.json").exists());
}

fn result(kitchen: &Kitchen, name: &str, cpu: &str, times: f64) {
    let cell = |backend: &str, us: f64| {
        let samples: Vec<f64> = (0..20).map(|i| us * (1.0 + f64::from(i % 4) / 1000.0)).collect();
        json!({"experiment": "latency", "case": {"backend": backend, "workers": 1},
               "metric": "round_trip", "unit": "us", "samples": samples})
    };
    let cells = [cell("threads", 10.0), cell("processes", 10.0 * times)];
    let value = json!({"schema": "brigade.bench.v1", "host": {"cpu": cpu}, "experiments": cells});
    kitchen.write(name, value.to_string());
}

#[test]
fn saved_results_are_compared_cell_by_cell() {
    let kitchen = Kitchen::new();
    result(&kitchen, "base.json", "a", 1.2);
    result(&kitchen, "same.json", "a", 1.2);
    result(&kitchen, "slow.json", "a", 1.5);
    result(&kitchen, "other.json", "b", 1.5);
    let done = kitchen.run("compare base.json same.json --format json").expect(0).json();
    assert_eq!(done["verdict"], "same");
    let done = kitchen.run("compare base.json slow.json --format json").expect(3).json();
    assert_eq!(done["cells"].as_array().unwrap().len(), 2);
    kitchen.run("compare base.json slow.json --tolerance 30%").expect(0);
    let done = kitchen.run("compare base.json other.json --format json").expect(3);
    assert!(done.stderr.contains("different machines"), "{}", done.stderr);
    assert_eq!(done.json()["cells"][0]["unit"], "ratio");
}

#[test]
fn what_one_result_lacks_is_inconclusive() {
    let kitchen = Kitchen::new();
    result(&kitchen, "base.json", "a", 1.2);
    let mut value: Value =
        serde_json::from_str(&std::fs::read_to_string(kitchen.path("base.json")).unwrap()).unwrap();
    value["experiments"][1]["samples"] = json!([]);
    value["experiments"][1]["error"] = json!("a worker died");
    kitchen.write("failed.json", value.to_string());
    value["experiments"].as_array_mut().unwrap().pop();
    kitchen.write("short.json", value.to_string());
    for (head, why) in [("failed.json", "a worker died"), ("short.json", "no such figure")] {
        let done = kitchen.run(&format!("compare base.json {head}")).expect(4);
        assert!(done.stdout.contains(why), "{}", done.stdout);
        kitchen.run(&format!("compare {head} base.json")).expect(4);
        kitchen.run(&format!("compare base.json {head} --fail-on worse")).expect(0);
    }
}

#[test]
fn verdicts_go_where_others_read_them() {
    let kitchen = Kitchen::new();
    result(&kitchen, "base.json", "a", 1.2);
    result(&kitchen, "slow.json", "a", 1.5);
    let command = "compare base.json slow.json --export junit=gate.xml --export csv=gate.csv \
                   --export github=- --export json=gate.json";
    let done = kitchen.run(command).expect(3);
    assert!(done.stdout.contains("worse") && done.stdout.contains("::error"), "{}", done.stdout);
    let read = |name: &str| std::fs::read_to_string(kitchen.path(name)).unwrap();
    assert!(read("gate.xml").contains("<failure"));
    assert_eq!(read("gate.csv").lines().count(), 3);
    let json: Value = serde_json::from_str(&read("gate.json")).unwrap();
    assert_eq!(json["schema"], "brigade.compare.v1");
    for (wrong, words) in [
        ("compare base.json slow.json --export xml=a", "there is no format"),
        ("compare base.json slow.json --export junit", "FORMAT=FILE"),
        ("bench latency --sizes 0 --blocks 1 --export junit=a.xml", "gives none"),
    ] {
        let done = kitchen.run(wrong).expect(2);
        assert!(done.stderr.contains(words), "{}", done.stderr);
        assert!(!kitchen.path("a.xml").exists());
    }
}
