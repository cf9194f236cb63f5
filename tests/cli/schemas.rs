//! What the program writes is as docs/schemas says.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::json_schema::check;
use crate::util::TestDir;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// A schema of docs/schemas.
pub(crate) struct Schema {
    name: String,
    schema: Value,
}

impl Schema {
    pub(crate) fn read(name: &str) -> Self {
        let path = docs().join("schemas").join(format!("{name}.json"));
        Self { name: name.to_owned(), schema: json(&fs::read(path).unwrap()) }
    }

    #[track_caller]
    pub(crate) fn accepts(&self, value: &Value) {
        let wrong = check(&self.schema, value);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", self.name);
    }

    #[track_caller]
    fn refuses(&self, value: &Value) {
        assert!(!check(&self.schema, value).is_empty(), "{}: {value:#}", self.name);
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_run_and_its_jobs_are_as_their_schemas_say() {
    let dir = TestDir::new();
    dir.image("a.png", "20x10");
    let (run, job) = (Schema::read("run.v1"), Schema::read("job.v1"));
    for line in [
        "blur a.png -o out/ -b processes --depth 2 --memory-limit 1GiB --timeout 60s",
        "noop --jobs 3 -b sync",
        "spin --jobs 3 -p us=10 -b threads -w 2",
    ] {
        let done = dir.run(&format!("run {line} --format json")).expect(0).json();
        run.accepts(&done);
        for key in ["summary", "schema", "jobs"] {
            let mut less = done.clone();
            less.as_object_mut().unwrap().remove(key);
            // Of these the jobs alone may be elsewhere.
            if key == "jobs" { run.accepts(&less) } else { run.refuses(&less) }
        }
        let mut wrong = done.clone();
        wrong["jobs"][0]["spans_us"]["compute"] = "long".into();
        run.refuses(&wrong);
        wrong["jobs"][0]["spans_us"] = Value::Null;
        run.refuses(&wrong);
    }
    let done = dir.run("run crash --jobs 2 --retries 0 --keep-going --format jsonl --log off");
    let lines = done.expect(1).lines();
    assert_eq!(lines.len(), 3);
    lines[..2].iter().for_each(|line| job.accepts(line));
    run.accepts(&lines[2]);
}

#[test]
fn lines_of_a_batch_are_as_their_schemas_say() {
    let dir = TestDir::new();
    dir.image("a.png", "20x10");
    let lines = [
        r#"{"id": "x", "kernel": "blur", "params": {"sigma": 2}, "inputs": ["a.png"], "output": "b.png"}"#,
        r#"{"id": [1, null], "kernel": "grayscale", "inputs": [{"bytes": "YS5wbmc="}], "timeout_ms": 60000}"#,
        r#"{"kernel": "blur", "inputs": ["none.png"]}"#,
    ];
    let (asked, job) = (Schema::read("batch.v1"), Schema::read("job.v1"));
    lines.iter().for_each(|line| asked.accepts(&json(line.as_bytes())));
    let misspelt = r#"{"kernel": "blur", "input": ["a.png"]}"#;
    asked.refuses(&json(misspelt.as_bytes()));
    let input = format!("{}\n{misspelt}\n", lines.join("\n"));
    let done = dir.feed("batch - --keep-going --log off", &input).expect(1);
    assert_eq!(done.lines().len(), 4);
    done.lines().iter().for_each(|line| job.accepts(line));
}

#[test]
fn benchmarks_and_comparisons_are_as_their_schemas_say() {
    let dir = TestDir::new();
    let (bench, line) = (Schema::read("bench.v1"), Schema::read("bench-line.v1"));
    let read = |name: &str| dir.read(name);
    let mut models: Vec<String> = Vec::new();
    for command in [
        "latency --sizes 0,4KiB,64KiB -b sync,threads --blocks 6",
        "scaling --kernel noop --jobs 4 -w 1,2,3,4,5,6 -b threads --blocks 6",
        "scaling --kernel noop --jobs 4 -w 1 --blocks 1 --worker-program /bin/false",
        "break-even --bytes 0 --compute 0,50us,200us -w 2 --blocks 6",
        "paradigms --kernels histogram -w 1,2 --orders 2 --wait 1ms --blocks 1",
    ] {
        let code = i32::from(command.contains("/bin/false"));
        let exports = "--output all.json --export jsonl=lines.jsonl";
        dir.run(&format!("bench {command} {exports}")).expect(code);
        let done = json(&read("all.json"));
        bench.accepts(&done);
        let names = done["models"].as_array().unwrap().iter();
        models.extend(names.map(|model| model["model"].as_str().unwrap().to_owned()));
        let text = String::from_utf8(read("lines.jsonl")).unwrap();
        assert!(text.lines().count() > 1);
        text.lines().for_each(|text| line.accepts(&json(text.as_bytes())));
        for key in ["host", "experiments", "findings", "schema"] {
            let mut less = done.clone();
            less.as_object_mut().unwrap().remove(key);
            bench.refuses(&less);
        }
    }
    for model in [
        "hockney",
        "speedup",
        "scaled-speedup",
        "usl",
        "break-even",
        "cheapest",
        "lesson",
        "refused",
    ] {
        assert!(models.iter().any(|found| found == model), "{model}: {models:?}");
    }
    let (compare, line) = (Schema::read("compare.v1"), Schema::read("compare-line.v1"));
    for command in
        ["compare all.json all.json", "ab --base true --head true --blocks 6 --budget 5s"]
    {
        let exports = "--format json --export jsonl=cells.jsonl";
        let done = dir.run(&format!("{command} {exports}"));
        assert!([Some(0), Some(3), Some(4)].contains(&done.code), "{done:?}");
        compare.accepts(&done.json());
        let mut less = done.json();
        less["cells"][0].as_object_mut().unwrap().remove("verdict");
        compare.refuses(&less);
        let text = String::from_utf8(read("cells.jsonl")).unwrap();
        text.lines().for_each(|text| line.accepts(&json(text.as_bytes())));
    }
}

#[test]
fn what_is_told_of_the_machine_and_of_kernels_is_as_its_schema_says() {
    let dir = TestDir::new();
    for (command, name) in [("doctor", "doctor.v1"), ("kernels", "kernels.v1")] {
        let schema = Schema::read(name);
        let done = dir.run(&format!("{command} --format json")).expect(0).json();
        schema.accepts(&done);
        let mut other = done;
        other["schema"] = "brigade.other.v1".into();
        schema.refuses(&other);
    }
}

#[test]
fn a_journal_is_as_its_schema_says() {
    let dir = TestDir::new();
    dir.image("a.png", "20x10");
    dir.run("run blur a.png -o out/ --journal j").expect(0);
    dir.run("run crash --retries 0 --journal k --log off").expect(1);
    let schema = Schema::read("journal.v3");
    let mut seen: Vec<String> = Vec::new();
    for name in ["j", "k"] {
        let text = String::from_utf8(dir.read(name)).unwrap();
        for line in text.lines() {
            let record = json(line.split_once(' ').unwrap().1.as_bytes());
            schema.accepts(&record);
            seen.extend(record.as_object().unwrap().keys().cloned());
        }
    }
    for record in ["journal", "session", "accepted", "done", "failed", "synced"] {
        assert!(seen.iter().any(|found| found == record), "{record}: {seen:?}");
    }
    schema.refuses(&serde_json::json!({"done": {"job": "x"}}));
}

#[test]
fn every_schema_is_told_in_the_documentation() {
    let text = fs::read_to_string(docs().join("schemas.md")).unwrap();
    let mut names: Vec<String> = fs::read_dir(docs().join("schemas"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    for name in &names {
        assert!(
            text.contains(&format!("(schemas/{name})")),
            "docs/schemas.md says nothing of {name}"
        );
        Schema::read(name.strip_suffix(".json").unwrap());
    }
    // A job of a run is a line of a batch.
    let read = |name: &str| json(&fs::read(docs().join("schemas").join(name)).unwrap());
    let (run, mut job) = (read("run.v1.json"), read("job.v1.json"));
    for key in ["$schema", "$id", "title", "description"] {
        job.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(run["$defs"]["job"], job);
}
