//! Options of `bench` that say what is measured: which pools, and what they are made of.

use serde_json::Value;

use crate::util::TestDir;

fn cells(document: &Value) -> &Vec<Value> {
    document["experiments"].as_array().unwrap()
}

/// Distinct values of a key of the cases.
fn values(document: &Value, key: &str) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for cell in cells(document) {
        if let Some(value) = cell["case"].get(key)
            && !values.contains(value)
        {
            values.push(value.clone());
        }
    }
    values
}

#[test]
fn backends_workers_and_transports_choose_what_is_compared() {
    let dir = TestDir::new();
    let line = "bench latency --sizes 4KiB -b threads,processes --transport shm -w 2 --blocks 1";
    let done = dir.run(&format!("{line} --format json")).expect(0).json();
    assert_eq!(values(&done, "backend"), ["threads", "processes"]);
    assert_eq!(values(&done, "transport"), ["shm"]);
    let own = cells(&done).iter().filter(|cell| cell["case"]["backend"].is_string());
    assert!(own.into_iter().all(|cell| cell["case"]["workers"] == 2));
    assert_eq!(done["config"]["transport"], serde_json::json!(["shm"]));
    assert_eq!(done["config"]["workers"], serde_json::json!([2]));
    let done = dir.run("bench startup -w 1 --start-method forkserver --blocks 1 --format json");
    assert_eq!(values(&done.expect(0).json(), "start_method"), ["forkserver"]);
    let line = "bench throughput -b processes -w 1 --depth 3 --time 2ms --blocks 1 --format json";
    let done = dir.run(line).expect(0).json();
    assert_eq!(values(&done, "depth"), [3]);
    assert_eq!(values(&done, "backend"), ["processes"]);
}

#[test]
fn what_pools_are_made_of_is_in_the_case_and_in_the_config() {
    let dir = TestDir::new();
    let line = "bench scaling --kernel noop --jobs 2 -w 1 --blocks 1 --pin --timeout 9s \
                --memory-limit 1GiB --retries 0 --sandbox=best-effort --max-jobs-per-worker 500";
    let done = dir.run(&format!("{line} --format json")).expect(0).json();
    let of = |backend: &str| {
        let cell = cells(&done).iter().find(|cell| cell["case"]["backend"] == backend);
        cell.unwrap()["case"]["options"].as_str().unwrap().to_owned()
    };
    assert_eq!(of("sync"), "--timeout 9s");
    assert_eq!(of("threads"), "--pin --timeout 9s");
    let processes = "--pin --timeout 9s --retries 0 --max-jobs-per-worker 500 --memory-limit \
                     1.00GiB --sandbox=best-effort";
    assert_eq!(of("processes"), processes);
    assert_eq!(done["config"]["options"].as_array().unwrap().len(), 6);
    assert_eq!(done["config"].get("transport"), None);
}

#[test]
fn a_limit_is_in_force() {
    let dir = TestDir::new();
    let line = "bench scaling --kernel spin -p us=400000 --jobs 1 -w 1 --blocks 1 -b processes";
    // In one thread nobody ends it: there the job tells that it took too long.
    dir.run(&format!("{line} --timeout 50ms")).expect(2).says("timed out");
}

#[test]
fn guards_that_are_asked_for_choose_the_rows_of_isolation() {
    let dir = TestDir::new();
    let line = "bench isolation -b processes --transport arena --timeout 30s --blocks 1";
    let done = dir.run(&format!("{line} --format json")).expect(0).json();
    let rows = ["a process, arena", "a process, arena, time limit"];
    assert_eq!(values(&done, "guard"), rows);
}

#[test]
fn what_has_no_meaning_or_no_effect_is_refused_by_name() {
    let dir = TestDir::new();
    for (line, said) in [
        ("latency --journal a.journal", "--journal does not go with bench"),
        ("latency --resume", "--resume does not go with bench"),
        ("isolation -b sync", "does not measure --backend sync"),
        ("startup -b async", "does not measure --backend async"),
        ("scaling --transport arena,shm", "one --transport"),
        ("latency --start-method spawn,forkserver", "one --start-method"),
        ("latency --depth 1,2", "one --depth"),
        ("latency -b threads --transport shm", "--transport does not go with"),
        ("latency -b threads,sync --memory-limit 1GiB", "--memory-limit does not go with"),
        ("latency --depth 99", "--depth"),
        ("all -w 0", "--workers"),
    ] {
        dir.run(&format!("bench {line}")).expect(2).says(said);
    }
    // A bench goes on after a failure in any case.
    dir.run("bench latency --sizes 0 -b sync --blocks 1 --keep-going").expect(0);
}

#[test]
fn what_cannot_be_started_hides_no_other() {
    let dir = TestDir::new();
    let broken = "--worker-program /bin/false --blocks 1 --format json";
    for line in [
        "latency --sizes 0",
        "throughput --time 2ms -w 1",
        "isolation",
        "startup -w 1",
        "scaling --kernel noop --jobs 1 -w 1",
        "break-even --bytes 0 --compute 0 -w 1",
        "paradigms --kernels histogram --orders 1 --wait 1ms -w 1",
    ] {
        let done = dir.run(&format!("bench {line} {broken}")).expect(1).json();
        let (processes, others): (Vec<&Value>, Vec<&Value>) =
            cells(&done).iter().partition(|cell| cell["case"]["backend"] == "processes");
        assert!(!processes.is_empty() && !others.is_empty(), "{line}");
        assert!(processes.iter().all(|cell| cell["error"].is_string()), "{line}: {processes:?}");
        assert!(others.iter().all(|cell| cell["error"].is_null()), "{line}: {others:?}");
        assert!(others.iter().any(|cell| cell["n"].as_u64() > Some(0)), "{line}");
    }
}

#[test]
fn a_payload_without_memory_fails_alone() {
    let dir = TestDir::new();
    let line = "bench latency --sizes 0,16777216GiB -b sync,threads --blocks 1 --format json";
    let done = dir.run(line).expect(1).json();
    for cell in cells(&done).iter().filter(|cell| cell["metric"] == "round_trip") {
        assert_eq!(cell["error"].is_string(), cell["case"]["bytes"] != 0, "{cell}");
    }
}
