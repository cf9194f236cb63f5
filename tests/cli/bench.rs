//! `brigade bench`.

use serde_json::Value;

use crate::util::Kitchen;

fn cells(document: &Value) -> &Vec<Value> {
    document["experiments"].as_array().unwrap()
}

#[test]
fn latency_measures_every_backend_beside_a_floor() {
    let kitchen = Kitchen::new();
    let command = "bench latency --sizes 0,4KiB --blocks 2 --format json --output saved.json";
    let done = kitchen.run(command).expect(0);
    let document = done.json();
    assert_eq!(document["schema"], "brigade.bench.v1");
    assert!(document["host"].is_object());
    for (bytes, kernel) in [(0, "noop"), (4096, "touch")] {
        let of: Vec<&Value> =
            cells(&document).iter().filter(|cell| cell["case"]["bytes"] == bytes).collect();
        for backend in ["sync", "async", "threads", "processes"] {
            assert!(of.iter().any(|cell| cell["case"]["backend"] == backend), "{backend}");
        }
        assert!(of.iter().any(|cell| cell["case"]["floor"].is_string()));
        for cell in of {
            assert_eq!(cell["case"]["kernel"], kernel);
            let samples = cell["samples"].as_array().unwrap();
            assert_eq!(cell["n"], samples.len());
            // A job that failed would be no number.
            assert!(samples.iter().all(|sample| sample.as_f64().unwrap() > 0.0));
            let (low, high) =
                (cell["ci95"][0].as_f64().unwrap(), cell["ci95"][1].as_f64().unwrap());
            assert!(low <= high);
        }
    }
    assert_eq!(std::fs::read_to_string(kitchen.path("saved.json")).unwrap(), done.stdout);
}

#[test]
fn startup_measures_both_start_methods() {
    let kitchen = Kitchen::new();
    let done = kitchen.run("bench startup -w 2 --blocks 2 --format json").expect(0).json();
    for metric in ["ready", "first_result"] {
        for method in ["spawn", "forkserver"] {
            let cell = cells(&done)
                .iter()
                .find(|cell| cell["metric"] == metric && cell["case"]["start_method"] == method)
                .unwrap_or_else(|| panic!("{metric} {method}"));
            assert_eq!((cell["n"].as_u64(), cell["case"]["workers"].as_u64()), (Some(2), Some(2)));
        }
    }
    assert!(cells(&done).iter().any(|cell| cell["metric"] == "replacement"));
}

#[test]
fn throughput_measures_workers_and_depths_both_ways() {
    let kitchen = Kitchen::new();
    let command = "bench throughput --kernel spin -p us=50 -w 1,2 --depth 2 --time 5ms --blocks 2";
    let done = kitchen.run(&format!("{command} --format json")).expect(0).json();
    for mode in ["one by one", "map"] {
        for (backend, workers) in [("sync", 1), ("threads", 1), ("processes", 1), ("processes", 2)]
        {
            let cell = cells(&done).iter().find(|cell| {
                let case = &cell["case"];
                case["mode"] == mode && case["backend"] == backend && case["workers"] == workers
            });
            let cell = cell.unwrap_or_else(|| panic!("{mode} {backend} {workers}"));
            assert_eq!(cell["metric"], "per_job");
            // A job spins for 50 us, on two workers for 25 of each one's share.
            assert!(cell["p50"].as_f64().unwrap() > 24.0, "{cell}");
        }
    }
    let text = kitchen.run(command).expect(0).stdout;
    assert!(text.contains("jobs/s") && text.contains("x 1 worker"), "{text}");
}

#[test]
fn bandwidth_and_isolation_have_a_row_for_each_way() {
    let kitchen = Kitchen::new();
    let done = kitchen.run("bench bandwidth --sizes 64KiB --blocks 1 --format json").expect(0);
    assert!(cells(&done.json()).iter().any(|cell| cell["case"]["placement"] == "in-place"));
    let done = kitchen.run("bench isolation --blocks 1 --format json").expect(0).json();
    for guard in ["a thread", "a process, arena", "a process, arena, pinned"] {
        assert!(cells(&done).iter().any(|cell| cell["case"]["guard"] == guard), "{guard}");
    }
}

#[test]
fn a_table_has_ratios() {
    let kitchen = Kitchen::new();
    let text = kitchen.run("bench latency --sizes 0 --blocks 2").expect(0).stdout;
    assert!(text.contains("x threads") && text.contains("two threads spinning"), "{text}");
}

#[test]
fn nonsense_is_exit_2() {
    let kitchen = Kitchen::new();
    kitchen.run("bench startup -w 0").expect(2).says("--workers");
    kitchen.run("bench latency --sizes lots").expect(2).says("512MiB");
    kitchen.run("bench throughput --kernel blurr").expect(2).says("blur");
    kitchen.run("bench throughput --kernel spin -p us=fast").expect(2).says("us");
    kitchen.run("bench throughput -p sigma=1").expect(2).says("sigma");
    kitchen.run("bench latency --blocks 0").expect(2).says("--blocks");
    kitchen.run("run spin --arena-limit 5X").expect(2).says("GiB");
    kitchen.run("run spin -b threads --spin 5us").expect(2).says("--spin");
}
