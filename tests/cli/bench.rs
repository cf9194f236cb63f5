//! `brigade bench`.

use std::io::{BufReader, Read};

use serde_json::Value;

use crate::util::{BACKENDS, TestDir, finish, next_line, signal, wait_until};

fn cells(document: &Value) -> &Vec<Value> {
    document["experiments"].as_array().unwrap()
}

#[test]
fn latency_measures_every_backend_beside_a_floor() {
    let dir = TestDir::new();
    let command = "bench latency --sizes 0,4KiB --blocks 2 --format json --output saved.json";
    let done = dir.run(command).expect(0);
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
        for cell in of.into_iter().filter(|cell| cell["metric"] == "round_trip") {
            assert_eq!(cell["case"]["kernel"], kernel);
            let samples = cell["samples"].as_array().unwrap();
            assert_eq!(cell["n"], samples.len());
            assert!(!samples.is_empty());
            // A job that failed would be no number.
            assert!(samples.iter().all(|sample| sample.as_f64().unwrap() > 0.0));
            // Two blocks have no interval.
            assert!(cell["ci95"].is_null() && cell["p50"].as_f64().unwrap() > 0.0);
        }
    }
    assert_eq!(std::fs::read_to_string(dir.path("saved.json")).unwrap(), done.stdout);
    every_backend_has_its_spans(&document);
    dir.run("report saved.json").expect(0);
    let page = std::fs::read_to_string(dir.path("saved.html")).unwrap();
    let stacks = page.matches("Spans of a job by backend (latency").count();
    assert!(stacks >= 3, "busy, idle, and a payload: {stacks}");
}

fn every_backend_has_its_spans(document: &Value) {
    let spans = ["queue", "encode", "deliver", "decode", "compute", "reply", "collect"];
    for whole in measured(document, "latency", "round_trip") {
        let of = |span: &str| {
            let cells = measured(document, "latency", span);
            cells.into_iter().find(|cell| cell["case"] == whole["case"])
        };
        for span in spans {
            assert_eq!(of(span).is_some(), whole["case"]["backend"].is_string(), "{whole}");
        }
        let sum: f64 = spans.iter().filter_map(|span| of(span)?["p50"].as_f64()).sum();
        // They are means of round trips that were measured from the outside, of two blocks.
        let samples = whole["samples"].as_array().unwrap().iter().filter_map(Value::as_f64);
        assert!(sum <= samples.fold(0.0, f64::max), "{sum} {whole}");
    }
}

#[test]
fn latency_fits_a_line_for_each_way_of_three_sizes() {
    let dir = TestDir::new();
    let command = "bench latency --sizes 0,4KiB,64KiB --blocks 6 --format json";
    let done = dir.run(command).expect(0).json();
    let ways: Vec<&Value> = models(&done, "hockney").iter().map(|fit| &fit["case"]).collect();
    assert_eq!(ways.len(), 3 + 4, "{ways:?}");
    for placement in ["copied", "in-place"] {
        let is_it = |case: &&&Value| case["placement"] == placement && case["transport"] == "arena";
        assert_eq!(ways.iter().filter(is_it).count(), 1);
    }
    assert!(done["findings"].to_string().contains("MB/s"));
    // Two sizes fit any line.
    let done = dir.run("bench latency --sizes 0,4KiB --blocks 1 --format json").expect(0);
    assert!(models(&done.json(), "hockney").is_empty());
}

#[test]
fn startup_measures_both_start_methods() {
    let dir = TestDir::new();
    let done = dir.run("bench startup -w 2 --blocks 2 --format json").expect(0).json();
    for metric in ["ready", "first_result", "ended"] {
        for method in ["spawn", "forkserver"] {
            let cell = cells(&done)
                .iter()
                .find(|cell| cell["metric"] == metric && cell["case"]["start_method"] == method)
                .unwrap_or_else(|| panic!("{metric} {method}"));
            assert_eq!((cell["n"].as_u64(), cell["case"]["workers"].as_u64()), (Some(2), Some(2)));
        }
    }
    let running = |cell: &&Value| cell["case"]["template"] == "already running";
    assert_eq!(cells(&done).iter().filter(running).count(), 3);
    assert!(cells(&done).iter().any(|cell| cell["metric"] == "replacement"));
}

#[test]
fn throughput_measures_workers_and_depths_both_ways() {
    let dir = TestDir::new();
    let command = "bench throughput --kernel spin -p us=50 -w 1,2 --depth 2 --time 5ms --blocks 2";
    let done = dir.run(&format!("{command} --format json")).expect(0).json();
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
    let text = dir.run(command).expect(0).stdout;
    assert!(text.contains("jobs/s") && text.contains("x 1 worker"), "{text}");
}

#[test]
fn bandwidth_and_isolation_have_a_row_for_each_way() {
    let dir = TestDir::new();
    let done = dir.run("bench bandwidth --sizes 64KiB --blocks 1 --format json").expect(0);
    assert!(cells(&done.json()).iter().any(|cell| cell["case"]["placement"] == "in-place"));
    let done = dir.run("bench isolation --blocks 1 --format json").expect(0).json();
    let has = |guard: &str| cells(&done).iter().any(|cell| cell["case"]["guard"] == guard);
    for guard in ["a thread", "a process, arena", "a process, arena, memory limit"] {
        assert!(has(guard), "{guard}");
    }
    for (bytes, placement) in [(1 << 20, "copied"), (8 << 20, "in-place")] {
        for guard in ["inputs for all to read", "inputs of its own"] {
            let is_it = |case: &Value| {
                case["bytes"] == bytes && case["placement"] == placement && case["guard"] == guard
            };
            assert!(cells(&done).iter().any(|cell| is_it(&cell["case"])), "{bytes} {placement}");
        }
    }
    assert!(done["findings"].to_string().contains("8.00 MiB in-place"), "{}", done["findings"]);
    // Not every kernel has one, and then that is said.
    assert!(has("a process, arena, sandbox") || done["findings"].to_string().contains("sandbox"));
}

#[test]
fn a_table_has_ratios() {
    let dir = TestDir::new();
    let text = dir.run("bench latency --sizes 0 --blocks 2").expect(0).stdout;
    assert!(text.contains("x threads") && text.contains("two threads spinning"), "{text}");
}

/// Cells of an experiment and a metric.
fn measured<'a>(document: &'a Value, experiment: &str, metric: &str) -> Vec<&'a Value> {
    let of = |cell: &&Value| cell["experiment"] == experiment && cell["metric"] == metric;
    cells(document).iter().filter(of).collect()
}

fn models<'a>(document: &'a Value, model: &str) -> Vec<&'a Value> {
    let models = document["models"].as_array().unwrap();
    models.iter().filter(|entry| entry["model"] == model).collect()
}

#[test]
fn scaling_has_every_share_and_refuses_a_fit_with_its_reason() {
    let dir = TestDir::new();
    let command = "bench scaling --kernel spin -p us=300 --jobs 4 --workers 1,64 --blocks 2";
    let done = dir.run(&format!("{command} --format json")).expect(0).json();
    for metric in ["wall", "startup_share", "communication_share", "imbalance", "peak_memory"] {
        for mode in ["strong", "weak"] {
            for (backend, workers) in
                [("sync", 1), ("threads", 1), ("threads", 64), ("processes", 1), ("processes", 64)]
            {
                let cell = measured(&done, "scaling", metric).into_iter().find(|cell| {
                    let case = &cell["case"];
                    case["mode"] == mode && case["backend"] == backend && case["workers"] == workers
                });
                let cell = cell.unwrap_or_else(|| panic!("{metric} {mode} {backend} {workers}"));
                assert_eq!(
                    (cell["n"].as_u64(), &cell["case"]["kernel"]),
                    (Some(2), &"spin".into())
                );
                let cores = done["host"]["cores_usable"].as_u64().unwrap();
                assert_eq!(cell["case"]["oversubscribed"] == true, workers > cores);
                let p50 = cell["p50"].as_f64().unwrap();
                match metric {
                    "wall" => assert!(p50 > 299.0),
                    "imbalance" => assert!(p50 >= 1.0),
                    "peak_memory" => assert_eq!(p50 > 0.0, backend == "processes"),
                    _ => assert!((0.0..1.0).contains(&p50), "{cell}"),
                }
            }
        }
    }
    let refused = models(&done, "refused");
    let usl = refused.iter().find(|model| model["of"] == "usl").unwrap();
    assert!(usl["reason"].as_str().unwrap().contains("a fit needs 6"), "{usl}");
    assert!(done["findings"].to_string().contains("universal scalability law: 2 worker counts"));
    let text = dir.run(command).expect(0).stdout;
    assert!(text.contains("Karp-Flatt") && text.contains("processes, 64 workers"), "{text}");
}

#[test]
fn six_worker_counts_and_six_blocks_are_enough_for_every_fit() {
    let dir = TestDir::new();
    let command = "bench scaling --kernel noop --jobs 20 --workers 1,2,3,4,5,6 --blocks 6";
    let done = dir.run(&format!("{command} --backends threads --format json")).expect(0).json();
    for (model, count) in [("speedup", 1), ("scaled-speedup", 1), ("amdahl", 1), ("usl", 1)] {
        let fits = models(&done, model);
        assert_eq!(fits.len(), count, "{model}");
        assert!(fits.iter().all(|fit| fit["case"]["backend"] == "threads"));
    }
    assert_eq!(models(&done, "speedup")[0]["points"].as_array().unwrap().len(), 6);
    // Work that grows with the workers is Gustafson's, and no refusal of other laws.
    let weak =
        done["models"].as_array().unwrap().iter().filter(|fit| fit["case"]["mode"] == "weak");
    let weak: Vec<&Value> = weak.map(|fit| &fit["model"]).collect();
    assert_eq!(weak, ["scaled-speedup"]);
}

#[test]
fn break_even_answers_for_each_payload() {
    let dir = TestDir::new();
    let command = "bench break-even --bytes 0,4KiB --compute 0,50us,200us -w 2 --percent 7";
    let done = dir.run(&format!("{command} --blocks 6 --format json")).expect(0).json();
    assert_eq!(measured(&done, "break-even", "per_job").len(), 2 * 3 * 3);
    let sync = |compute: f64| {
        let cell = measured(&done, "break-even", "per_job").into_iter().find(|cell| {
            cell["case"]["backend"] == "sync" && cell["case"]["compute_us"] == compute
        });
        cell.unwrap()["min"].as_f64().unwrap()
    };
    // What they are asked to compute is what they do.
    assert!(sync(0.0) < sync(50.0) && sync(50.0) < sync(200.0));
    let found = models(&done, "break-even");
    for (reference, percent) in [("threads", 7.0), ("sync", 0.0)] {
        let model = found.iter().find(|model| model["case"]["reference"] == reference).unwrap();
        assert_eq!(model["case"]["percent"], percent);
        for (point, bytes) in model["points"].as_array().unwrap().iter().zip([0, 4096]) {
            assert_eq!(point["bytes"], bytes);
            let answer = point["answer"].as_str().unwrap();
            assert!(["at", "never", "always"].contains(&answer));
            assert_eq!(answer == "at", point["compute_us"].is_object());
        }
    }
    let cheapest = models(&done, "cheapest")[0];
    assert_eq!(cheapest["case"]["workers"], 2);
    let places = cheapest["points"].as_array().unwrap();
    assert_eq!(places.len(), 2 * 3);
    for place in places {
        let others = place["others"].as_array().unwrap();
        assert_eq!(others.len(), 2, "{place}");
        let low = |other: &Value| other["ratio"]["interval"][0].as_f64().unwrap();
        assert_eq!(place["decided"] == true, others.iter().all(|other| low(other) > 1.0));
    }
    assert_eq!(models(&done, "pays-back").len(), 2 * 3);
    let said = done["findings"].to_string();
    assert!(said.contains("at most 7 % more than a thread"), "{said}");
    assert!(said.contains("cheapest with 4.00 KiB of payload, with 2 workers"), "{said}");
    assert!(said.contains("with 4.00 KiB of payload 2 worker processes are at least"), "{said}");
    let text = dir.run(&format!("{command} --blocks 1")).expect(0).stdout;
    assert!(text.contains("processes / threads, 2 workers"), "{text}");
    assert!(text.contains("no break-even: 1 block,"), "{text}");
}

#[test]
fn paradigms_have_a_lesson_and_a_timeline_for_every_backend() {
    let dir = TestDir::new();
    let command = "bench paradigms --kernels histogram -w 1,2 --orders 4 --wait 2ms --blocks 2";
    let done = dir.run(&format!("{command} --format json")).expect(0).json();
    for (work, kernel) in
        [("waiting", "wait"), ("computing", "histogram"), ("mixed", "wait+histogram")]
    {
        for backend in BACKENDS {
            let is_it = |entry: &&Value| {
                let case = &entry["case"];
                case["work"] == work && case["kernel"] == kernel && case["backend"] == backend
            };
            let walls = measured(&done, "paradigms", "wall").into_iter().filter(is_it).count();
            let many = !["sync", "async"].contains(&backend);
            assert_eq!(walls, if many { 2 } else { 1 }, "{work} {backend}");
            let lesson = models(&done, "lesson").into_iter().find(is_it).unwrap();
            assert!(lesson["sentence"].as_str().unwrap().len() > 20);
            let timeline = done["timelines"].as_array().unwrap().iter().find(is_it).unwrap();
            accounts_for_its_time(timeline, backend == "async");
            counts_its_jobs(timeline, backend == "processes");
        }
    }
    let text = dir.run(command).expect(0).stdout;
    assert!(text.contains("threads-gil") && text.contains("time against sync"), "{text}");
    assert!(text.contains("too few blocks to tell"), "{text}");
}

/// The spans of each worker add up to the wall time; those of an event loop may overlap.
fn accounts_for_its_time(timeline: &Value, may_overlap: bool) {
    let wall = timeline["wall_us"].as_f64().unwrap();
    for worker in timeline["lanes"].as_array().unwrap() {
        let mut until = 0.0;
        for span in worker["spans"].as_array().unwrap() {
            let (from, to) = (span[1].as_f64().unwrap(), span[2].as_f64().unwrap());
            assert!(from <= to, "{span}");
            assert!(from <= until + wall / 1e3, "a gap before {span} in {worker}");
            assert!(may_overlap || from >= until - wall / 1e3, "{span} overlaps in {worker}");
            until = to.max(until);
        }
        assert!((until / wall - 1.0).abs() < 0.01, "{timeline}");
    }
}

/// Jobs wait and are in flight, and in the end none; memory is that of whoever computes.
fn counts_its_jobs(timeline: &Value, has_processes: bool) {
    let counters = timeline["counters"].as_array().unwrap();
    for name in ["queue depth", "jobs in flight"] {
        let counter = counters.iter().find(|counter| counter["name"] == name).unwrap();
        let points = counter["points"].as_array().unwrap();
        assert!(points.iter().any(|point| point[1].as_i64() > Some(0)), "{counter}");
        assert!(points.iter().all(|point| point[1].as_i64() >= Some(0)), "{counter}");
        assert_eq!(points.last().unwrap()[1], 0, "{counter}");
    }
    let memory: Vec<&Value> = counters.iter().filter(|of| of["unit"] == "bytes").collect();
    assert!(!memory.is_empty(), "{counters:?}");
    for counter in memory {
        assert_eq!(counter["name"] != "memory", has_processes, "{counter}");
        assert!(counter["points"][0][1].as_u64() > Some(100_000), "{counter}");
    }
}

#[test]
fn an_interrupted_bench_keeps_what_it_has() {
    interrupt_a_bench("INT", 130);
    interrupt_a_bench("TERM", 143);
}

fn interrupt_a_bench(by: &str, code: i32) {
    let dir = TestDir::new();
    let command = "bench all --blocks 1 --format json --output saved.json --log info";
    let mut child = dir.command(command).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // Six pools measure latency; with the next one the first experiment is over.
    for _ in 0..7 {
        wait_until("a pool is ready", || {
            let line = next_line(&mut stderr);
            assert!(!line.is_empty(), "it has ended");
            line.contains("pool is ready")
        });
    }
    signal(child.id(), by);
    // So that it does not block in writing.
    let reader = std::thread::spawn(move || stderr.read_to_string(&mut String::new()));
    finish(child).expect(code);
    reader.join().unwrap().unwrap();
    let saved: Value = serde_json::from_slice(&dir.read("saved.json")).unwrap();
    assert_eq!(saved["interrupted"], true);
    let latency = measured(&saved, "latency", "round_trip");
    assert!(!latency.is_empty() && latency.iter().all(|cell| cell["n"].as_u64() > Some(0)));
    assert!(measured(&saved, "paradigms", "wall").is_empty());
}

#[test]
fn an_export_on_standard_output_is_alone_there() {
    let dir = TestDir::new();
    let line = "bench latency --sizes 0 -b sync --blocks 2";
    let done = dir.run(&format!("{line} --export csv=- --output all.txt")).expect(0);
    let rows: Vec<&str> = done.stdout.lines().collect();
    assert!(rows[0].starts_with("name,experiment,") && rows.len() > 2, "{}", done.stdout);
    assert!(!done.stdout.contains("x threads"), "{}", done.stdout);
    assert!(done.stderr.contains("x threads"), "{}", done.stderr);
    let file = String::from_utf8(dir.read("all.txt")).unwrap();
    assert!(file.contains("x threads") && !file.contains("name,experiment"), "{file}");
    // What the name of the file says does not change what is on standard output.
    let done = dir.run(&format!("{line} --export json=- --output all.json")).expect(0);
    assert_eq!(done.json()["schema"], "brigade.bench.v1");
    let saved: Value = serde_json::from_slice(&dir.read("all.json")).unwrap();
    assert_eq!(saved["schema"], "brigade.bench.v1");
    let done = dir.run("compare all.json all.json --export markdown=-").expect(0);
    assert!(done.stdout.contains("| verdict |"), "{}", done.stdout);
    assert!(!done.stderr.is_empty() && !done.stderr.contains("| verdict |"), "{}", done.stderr);
    dir.run(&format!("{line} --export csv=- --export json=-")).expect(2).says("--export json=-");
    dir.run(&format!("{line} --export csv=- --format json")).expect(2).says("--format json");
}

#[test]
fn the_name_of_the_file_says_its_form_unless_format_does() {
    let dir = TestDir::new();
    let line = "bench latency --sizes 0 -b sync --blocks 1";
    let done = dir.run(&format!("{line} --output a.json")).expect(0);
    assert!(done.stdout.contains("x threads"), "{}", done.stdout);
    serde_json::from_slice::<Value>(&dir.read("a.json")).unwrap();
    dir.run("compare a.json a.json --output verdict.json").expect(0);
    let verdict: Value = serde_json::from_slice(&dir.read("verdict.json")).unwrap();
    assert_eq!(verdict["schema"], "brigade.compare.v1");
    dir.run(&format!("{line} --format human --output b.json")).expect(0);
    assert!(serde_json::from_slice::<Value>(&dir.read("b.json")).is_err());
}

/// More workers in one look: a row for each count and backend, and nothing to be taken apart.
#[test]
fn scaling_has_a_table_of_plain_columns() {
    let dir = TestDir::new();
    let line = "bench scaling --kernel spin -p us=300 --jobs 4 -w 1,2 --mode strong --blocks 6";
    let done = dir.run(&format!("{line} --export csv-wide=cores.csv")).expect(0);
    for title in ["wall", "speedup", "95 % interval", "efficiency", "processor"] {
        assert!(done.stdout.contains(title), "{}", done.stdout);
    }
    assert!(!done.stdout.contains("weak") && done.stdout.contains("####"), "{}", done.stdout);
    let text = String::from_utf8(dir.read("cores.csv")).unwrap();
    assert!(!text.contains('{'), "{text}");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 1 + 2 * 2, "{text}");
    for row in &rows {
        let of = |name: &str| {
            let at = heads.iter().position(|head| head == name);
            &row[at.unwrap_or_else(|| panic!("{name}: {text}"))]
        };
        for name in ["backend", "kernel", "mode"] {
            assert!(!of(name).is_empty(), "{name}: {text}");
        }
        let number =
            |name: &str| of(name).parse::<f64>().unwrap_or_else(|_| panic!("{name}: {text}"));
        assert!(number("workers") > 0.0 && number("wall_us") > 299.0, "{text}");
        assert!(number("cpu_us") > 0.0, "{text}");
        let efficiency = number("speedup") / number("workers");
        assert!((number("efficiency") - efficiency).abs() < 1e-9, "{text}");
        let has_interval = !of("speedup_low").is_empty();
        assert_eq!(has_interval, of("backend") != "sync", "{text}");
    }
}

#[test]
fn the_script_prints_the_table_and_makes_a_row_for_each_count() {
    let dir = TestDir::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/compare_cores.sh");
    let mut command = dir.program(script);
    command.args(["-k", "noop", "-w", "1,2", "-b", "threads", "-t", "1s"]);
    command.env("BRIGADE", env!("CARGO_BIN_EXE_brigade"));
    let done = finish(command.spawn().unwrap()).expect(0);
    assert!(
        done.stdout.contains("speedup") && done.stdout.contains("threads, 2 workers"),
        "{done:?}"
    );
    let table = String::from_utf8(dir.read("cores.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 3, "{table}");
    assert!(dir.read("cores.html").starts_with(b"<!DOCTYPE html>"));
    let mut lost = dir.program(script);
    let lost = finish(lost.env("BRIGADE", "/no/such/program").spawn().unwrap());
    lost.expect(2).says("/no/such/program");
}

#[test]
fn nonsense_is_exit_2() {
    let dir = TestDir::new();
    dir.run("bench startup -w 0").expect(2).says("--workers");
    dir.run("bench latency --sizes lots").expect(2).says("512MiB");
    dir.run("bench throughput --kernel blurr").expect(2).says("blur");
    dir.run("bench throughput --kernel spin -p us=fast").expect(2).says("us");
    dir.run("bench throughput -p sigma=1").expect(2).says("sigma");
    dir.run("bench scaling -w 0").expect(2).says("--workers");
    dir.run("bench scaling --backends fibres").expect(2).says("threads");
    dir.run("bench scaling --kernel crash").expect(2).says("crash");
    dir.run("bench break-even --compute 5").expect(2).says("5ms");
    dir.run("bench break-even --percent much").expect(2).says("5%");
    dir.run("bench paradigms --kernels blurr").expect(2).says("blur");
    dir.run("bench latency --blocks 0").expect(2).says("--blocks");
    dir.run("run spin --arena-limit 5X").expect(2).says("GiB");
    dir.run("run spin -b threads --spin 5us").expect(2).says("--spin");
}

#[test]
fn a_benchmark_has_a_timeline() {
    let dir = TestDir::new();
    dir.run("bench latency --sizes 0 --blocks 2 --trace trace.json").expect(0);
    let text = std::fs::read_to_string(dir.path("trace.json")).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let blocks = events.iter().filter(|event| event["ph"] == "X").count();
    assert_eq!(blocks, 2);
    assert!(events.iter().any(|event| event["ph"] == "C"));
}

#[test]
fn instructions_are_compared_where_they_can_be_counted() {
    let dir = TestDir::new();
    let command = "ab --base true --head true --metric instructions --blocks 5 --format json";
    let done = dir.run(command);
    // Virtual machines often cannot: then it says so before anything is measured.
    match done.code {
        Some(2) => assert!(done.stderr.contains("--metric cpu"), "{}", done.stderr),
        _ => assert_eq!(done.json()["cells"][0]["unit"], "instructions"),
    }
}

#[test]
fn a_budget_ends_the_first_turn_of_the_variants_too() {
    // A run waits for 100 ms, so one of the six variants has a turn within 50 ms.
    let dir = TestDir::new();
    let command = "bench scaling --kernel wait -p us=50000 --jobs 2 --backends threads \
                   --workers 1,2 --budget 50ms";
    let done = dir.run(&format!("{command} --format json")).expect(0);
    let document = done.json();
    let walls = measured(&document, "scaling", "wall");
    assert_eq!(walls.len(), 6);
    assert_eq!(walls.iter().filter(|cell| cell["n"].as_u64().unwrap() > 0).count(), 1);
    let findings = document["findings"].as_array().unwrap();
    let said = "5 of 6 variants of scaling had no turn within --budget 50.0 ms: raise it";
    assert!(findings[0].as_str().unwrap().starts_with(said), "{findings:?}");
}

#[test]
fn every_experiment_bears_a_budget_that_is_too_short() {
    let dir = TestDir::new();
    let experiments = ["latency", "bandwidth", "throughput", "startup", "isolation"];
    for experiment in experiments.into_iter().chain(["scaling", "break-even", "paradigms", "all"]) {
        let command = format!("bench {experiment} --workers 1 --budget 1ms --output saved.json");
        let done = dir.run(&command).expect(0);
        assert!(done.stdout.contains("had no turn within --budget"), "{command}: {}", done.stdout);
        assert!(!done.stdout.contains("NaN"), "{command}: {}", done.stdout);
        // More blocks do not fit in the budget.
        assert!(!done.stdout.contains("--blocks"), "{command}: {}", done.stdout);
        dir.run("report saved.json").expect(0);
        dir.run("compare saved.json saved.json").expect(0);
    }
}
