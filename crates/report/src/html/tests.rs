//! Pages of the fixtures that `scripts/report_fixtures.py` makes, and of hostile ones.

use serde_json::{Value, json};

use super::{NotAResult, ResultSource, input, render, render_all};

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn bench() -> Value {
    fixture(include_str!("fixtures/bench.json"))
}

fn page(result: &Value) -> String {
    let source = ResultSource { file: "a.json".into(), written: "2026-01-31 12:00 UTC".into() };
    render(result, &source).unwrap()
}

/// The wide picture of the figure whose title begins so.
#[track_caller]
fn picture(page: &str, title: &str) -> String {
    let figures = page.split("<figure").skip(1);
    let found = figures.into_iter().find(|figure| {
        let heading = figure.split("<h3>").nth(1).and_then(|rest| rest.split("</h3>").next());
        heading.is_some_and(|heading| heading.contains(&format!(": {title}")))
    });
    let figure = found.unwrap_or_else(|| panic!("no figure {title}"));
    let wide = figure.split("<div class=\"wide\">").nth(1).unwrap();
    wide.split("</svg>").next().unwrap().to_owned()
}

fn marks(picture: &str, class: &str) -> usize {
    picture.matches(&format!("class=\"mark {class}\"")).count()
}

fn count_cells(result: &Value, wanted: impl Fn(&input::CellInput<'_>) -> bool) -> usize {
    input::cells(result).0.iter().filter(|cell| wanted(cell)).count()
}

#[test]
fn several_results_are_one_page_in_which_each_id_is_there_once() {
    let named = |file: &str| ResultSource { file: file.into(), ..ResultSource::default() };
    let results = [(bench(), named("a.json")), (bench(), named("b.json"))];
    let one = page(&results[0].0).matches("<figure").count();
    let page = render_all(&results).unwrap();
    assert_eq!(page.matches("<figure").count(), 2 * one);
    assert!(page.contains(&format!("Figure {}: ", 2 * one)), "they are numbered through");
    assert!(page.contains("href=\"#result-2\"") && page.contains("b.json"));
    let mut ids: Vec<&str> =
        page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let wrong = [(bench(), named("a.json")), (json!({}), named("b.json"))];
    assert_eq!(render_all(&wrong).unwrap_err(), (1, NotAResult::NoSchema));
}

#[test]
fn each_figure_of_a_benchmark_has_a_mark_for_each_point() {
    let result = bench();
    let page = page(&result);
    let strong =
        count_cells(&result, |cell| cell.metric == "wall" && cell.text("mode") == Some("strong"));
    let speedup = picture(&page, "Speedup against workers");
    assert_eq!(marks(&speedup, "point"), strong);
    // Those with 6 and 8 workers on 4 cores, on three backends.
    assert_eq!(speedup.matches(" hollow").count(), 6);
    assert_eq!(speedup.matches(" fit\"").count(), 2, "the USL and Amdahl's");

    let busy = count_cells(&result, |cell| {
        cell.experiment == "latency" && cell.text("state") == Some("busy")
    });
    let latency = picture(&page, "Round trip of a job");
    assert_eq!(marks(&latency, "point"), busy);
    assert!(latency.contains("c-other d4"), "the floor is dotted");

    let map = picture(&page, "Break-even");
    assert_eq!(marks(&map, "place"), 25, "five payloads, five compute times");
    assert_eq!(marks(&map, "frontier-point"), 5);

    let gantt = picture(&page, "Who did what when: mixed");
    let timelines = input::list(&result, "timelines").iter();
    let mixed = timelines.filter(|timeline| timeline["case"]["work"] == "mixed");
    let workers = mixed.flat_map(|timeline| input::list(timeline, "lanes"));
    let spans: usize = workers.map(|worker| input::list(worker, "spans").len()).sum();
    assert_eq!(marks(&gantt, "span"), spans);

    assert_eq!(marks(&picture(&page, "Startup, ready"), "point"), 8);
}

#[test]
fn each_figure_of_a_run_has_a_mark_for_each_span() {
    let page = page(&fixture(include_str!("fixtures/run.json")));
    // Six spans; all jobs, and those of each of three workers.
    assert_eq!(marks(&picture(&page, "Mean spans"), "span"), 24);
    // 24 jobs with decode, compute and reply; start and rest of three workers.
    assert_eq!(marks(&picture(&page, "Who did what"), "span"), 24 * 3 + 6);
    assert!(page.contains("not when it began"));
}

/// 56 ms of `deliver` were the job that the worker had before, and the page called all of it
/// handing over.
#[test]
fn waiting_for_the_workers_job_before_is_not_told_as_handing_over() {
    let mut result = fixture(include_str!("fixtures/run.json"));
    result["config"]["processes"] = json!({"depth": 2});
    for job in result["jobs"].as_array_mut().unwrap() {
        if job["spans_us"].is_object() {
            job["spans_us"]["deliver"] = json!(56_090.0);
        }
    }
    // What an older version wrote.
    let old = page(&result);
    assert!(old.contains("takes at most 56.2 ms more, of which an unknown part"), "{old}");
    for job in result["jobs"].as_array_mut().unwrap() {
        job["behind_us"] = json!(56_000.0);
    }
    let new = page(&result);
    let told = "handing it over and back takes 179 µs more. It waits 56.0 ms for the job that its \
                worker had before.";
    assert!(new.contains(told), "{new}");
    assert!(new.contains(">behind</th>"), "{new}");
    assert_eq!(marks(&picture(&new, "Mean spans"), "span"), 24, "no more is drawn");
}

#[test]
fn the_map_follows_the_verdict_of_ratios_not_the_overlap_of_intervals() {
    let mut result = bench();
    let map = |result: &Value| picture(&page(result), "Break-even");
    let doubts = |result: &Value| map(result).matches("?</text>").count();
    assert!(doubts(&result) > 0, "intervals of the fixture overlap somewhere");
    let cells = result["experiments"].as_array().unwrap().iter();
    let mut at: Vec<(Value, Value)> = Vec::new();
    for cell in cells.filter(|cell| cell["experiment"] == "break-even") {
        let place = (cell["case"]["bytes"].clone(), cell["case"]["compute_us"].clone());
        if !at.contains(&place) {
            at.push(place);
        }
    }
    let ratio = json!({"estimate": 1.25, "interval": [1.125, 1.5]});
    let points: Vec<Value> = at
        .into_iter()
        .enumerate()
        .map(|(i, (bytes, compute_us))| {
            json!({"bytes": bytes, "compute_us": compute_us, "cheapest": "threads",
                   "decided": i != 3, "others": [{"backend": "sync", "ratio": ratio}]})
        })
        .collect();
    let model = json!({"model": "cheapest", "case": {}, "points": points});
    result["models"].as_array_mut().unwrap().push(model);
    assert_eq!(doubts(&result), 1);
    assert_eq!(map(&result).matches(">T</text>").count(), 24);
    assert!(page(&result).contains("sync 1.25 times (1.12 to 1.50)"));
}

#[test]
fn weak_scaling_has_no_figure_of_strong_scaling() {
    let page = page(&bench());
    let weak =
        page.split("<figure").find(|figure| figure.contains("Scaled speedup (work")).unwrap();
    assert!(weak.contains("serial share") && !weak.contains("Karp–Flatt"));
    assert!(!weak.contains(" fit\""), "no curve of Amdahl's law");
}

/// Two blocks have no interval: the page said "1.63 (1.63 to 1.63)" below "an interval needs 6".
#[test]
fn what_has_too_few_blocks_has_no_interval_and_no_claim_anywhere() {
    let mut result = bench();
    result["findings"] = json!([]);
    result["models"] = json!([]);
    for cell in result["experiments"].as_array_mut().unwrap() {
        cell["ci95"] = Value::Null;
    }
    let page = page(&result);
    assert!(!page.contains("class=\"whisker"), "no stroke is drawn");
    let brackets = page.split(" to ").zip(page.split(" to ").skip(1)).find(|(before, after)| {
        let from = before.rsplit('(').next().unwrap();
        let end = after.split(')').next().unwrap();
        !from.is_empty() && from == end
    });
    assert!(brackets.is_none(), "{brackets:?}");
    for said in [
        "which says little: there are too few blocks for an interval",
        "There are no intervals: too few blocks were measured for them.",
        "; of too few blocks to tell it from the others.",
    ] {
        assert!(page.contains(said), "{said}");
    }
    let speedup =
        page.split("<figure").skip(1).find(|figure| figure.contains(": Speedup against")).unwrap();
    let rows: Vec<&str> =
        speedup.split("<tr>").skip(1).filter(|row| row.contains("processes")).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    assert!(rows.iter().all(|row| row.matches(">–</td>").count() >= 2), "{rows:?}");
    let map = picture(&page, "Break-even");
    assert_eq!(map.matches("?</text>").count(), 25, "nothing is decided");
}

#[test]
fn a_speedup_is_that_of_the_measurement_where_it_has_one() {
    let mut result = bench();
    let point = json!({"workers": 4, "speedup": {"estimate": 3.875, "interval": [3.75, 3.9375]}});
    let case = json!({"kernel": "blur", "mode": "strong", "backend": "processes"});
    let model = json!({"model": "speedup", "case": case, "points": [point]});
    result["models"].as_array_mut().unwrap().push(model);
    assert!(page(&result).contains("processes, 4 workers: 3.88 (3.75 to 3.94)"));
}

#[test]
fn cells_that_are_spans_are_stacked() {
    let cell = |backend: &str, metric: &str, us: f64| {
        let case = json!({"backend": backend, "bytes": 0, "state": "idle"});
        json!({"experiment": "latency", "case": case, "metric": metric, "unit": "us", "p50": us})
    };
    let cells = [
        cell("threads", "encode", 1.0),
        cell("threads", "compute", 5.0),
        cell("processes", "deliver", 2.0),
    ];
    let page = page(&json!({"schema": "brigade.bench.v1", "experiments": cells}));
    let stack = picture(&page, "Spans of a job by backend (latency: 0 B, idle)");
    assert_eq!(marks(&stack, "span"), 14, "seven of each backend");
    let answer = "threads takes 6.00 µs, of which compute 5.00 µs; processes takes 2.00 µs, of which \
                  deliver 2.00 µs.";
    assert!(page.contains(answer), "{page}");
}

#[test]
fn a_comparison_has_ratios_with_their_verdicts() {
    let page = page(&fixture(include_str!("fixtures/compare.json")));
    let strip = picture(&page, "Head over base");
    assert_eq!((marks(&strip, "ratio"), marks(&strip, "aa")), (5, 4));
    for verdict in ["better", "same", "worse", "inconclusive"] {
        assert!(strip.contains(&format!(">{verdict}</text>")), "{verdict}");
    }
    assert!(page.contains("Head is worse, with a tolerance of 5 %."));
}

#[test]
fn every_picture_has_a_text_and_a_table() {
    let page = page(&bench());
    let figures = page.matches("<figure").count();
    assert_eq!(page.matches("role=\"img\"").count(), 2 * figures);
    assert_eq!(page.matches("<desc").count(), 2 * figures);
    assert_eq!(page.matches("<details>").count(), figures);
    assert_eq!(page.matches("<table>").count(), figures);
    for absent in ["<script", "http://", "https://", "NaN", "inf\""] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn findings_and_warnings_come_before_the_figures() {
    let mut result = bench();
    result["interrupted"] = json!(true);
    let page = page(&result);
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("Where work waits") < at("turbo is on") && at("turbo is on") < at("<figure"));
    assert!(at("was interrupted") < at("<figure"));
    assert!(page.contains("No USL curve for async: it has 1 worker count"));
}

#[test]
fn the_first_findings_are_read_at_once_and_none_is_lost() {
    for (count, more) in [(3, None), (12, None), (13, Some("3 more")), (31, Some("21 more"))] {
        let mut result = bench();
        result["findings"] = (0..count).map(|i| json!(format!("finding {i}."))).collect();
        let page = page(&result);
        assert!((0..count).all(|i| page.contains(&format!("finding {i}."))), "{count}");
        assert_eq!(page.contains("details class=\"more\""), more.is_some(), "{count}");
        assert!(more.is_none_or(|more| page.contains(more)), "{count}");
    }
}

/// Replaces every text of a value but its schema.
fn poison(value: &mut Value, keep: &[&str]) {
    match value {
        Value::String(text) if !keep.contains(&text.as_str()) => {
            text.push_str("<script>alert('1')</script>\"></svg>");
        }
        Value::Array(list) => list.iter_mut().for_each(|value| poison(value, keep)),
        Value::Object(map) => map.values_mut().for_each(|value| poison(value, keep)),
        _ => {}
    }
}

#[test]
fn hostile_names_stay_text() {
    let keep = [
        "brigade.bench.v1",
        "brigade.run.v1",
        "brigade.compare.v1",
        "scaling",
        "wall",
        "sync",
        "break-even",
        "latency",
        "usl",
        "refused",
        "strong",
        "us",
    ];
    for text in [
        include_str!("fixtures/bench.json"),
        include_str!("fixtures/run.json"),
        include_str!("fixtures/compare.json"),
    ] {
        let clean = fixture(text);
        let mut dirty = clean.clone();
        poison(&mut dirty, &keep);
        let page = page(&dirty);
        assert!(page.contains("&lt;script&gt;"), "it is shown");
        assert!(!page.contains("<script"), "it is not markup");
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}

#[test]
fn what_is_missing_is_said() {
    let empty = page(&json!({"schema": "brigade.bench.v1"}));
    for sentence in ["No picture of speedup", "No picture of break-even", "does not say"] {
        assert!(empty.contains(sentence), "{sentence}");
    }
    let odd = json!({
        "schema": "brigade.bench.v1", "host": 7, "models": {}, "timelines": [{}, 3],
        "experiments": [{"experiment": "new", "case": {"x": [1]}, "p50": 2.0}, {"p50": "fast"}],
        "findings": [1, "One sentence."], "warnings": null,
    });
    let odd = page(&odd);
    assert!(odd.contains("1 cell could not be read") && odd.contains("One sentence."));
    assert_eq!(marks(&picture(&odd, "New, value"), "point"), 1);
    page(&json!({"schema": "brigade.run.v1", "jobs": [{"worker": 0}]}));
    page(&json!({"schema": "brigade.compare.v1", "cells": [{}, {"ratio": {"estimate": null}}]}));
}

#[test]
fn other_files_are_refused() {
    let of = |result: Value| render(&result, &ResultSource::default()).unwrap_err();
    assert_eq!(of(json!([1])), NotAResult::NoSchema);
    let error = of(json!({"schema": "brigade.doctor.v1"}));
    assert!(error.to_string().contains("brigade.doctor.v1"), "{error}");
}

#[test]
fn numbers_that_nothing_measurable_has_are_left_out() {
    for number in [json!(1e308), json!(5e-324), json!(-1e300), json!(u64::MAX), json!(null)] {
        let mut result = bench();
        for cell in result["experiments"].as_array_mut().unwrap().iter_mut().step_by(3) {
            cell["p50"] = number.clone();
            cell["case"]["workers"] = number.clone();
        }
        for timeline in result["timelines"].as_array_mut().unwrap() {
            timeline["lanes"][0]["spans"][0][2] = number.clone();
        }
        let page = page(&result);
        assert!(page.contains("could not be read"), "{number}");
        assert!(!page.contains("NaN") && !page.contains("=\"inf"), "{number}");
    }
}
