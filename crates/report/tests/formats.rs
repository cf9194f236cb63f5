//! Every format, read again by a parser of its own; text for people as it is to be.

mod fixture;

use brigade_measure::comparison::{Compared, Comparison, Verdict};
use brigade_report::comparison_human;
use brigade_report::formats::{Document, Format, UnknownFormat};
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;

use brigade_proto::printable;
use fixture::{NASTY, bench, comparison, two_commands};

fn written(format: Format, document: Document<'_>) -> String {
    let mut out = Vec::new();
    format.write(&mut out, document).unwrap();
    String::from_utf8(out).unwrap()
}

fn of_comparison(format: Format) -> String {
    written(format, Document::Comparison(&comparison()))
}

fn of_bench(format: Format) -> String {
    written(format, Document::Bench(&bench()))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn formats_are_found_by_their_names_and_others_are_told() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    let unknown = "xml".parse::<Format>().unwrap_err();
    assert_eq!(unknown, UnknownFormat("xml".to_owned()));
    let message = unknown.to_string();
    assert!(Format::ALL.iter().all(|format| message.contains(format.name())), "{message}");
}

#[test]
fn a_format_that_cannot_say_it_writes_nothing() {
    let bench = bench();
    for format in [Format::Junit, Format::Github] {
        let mut out = Vec::new();
        assert!(!format.supports(&Document::Bench(&bench)));
        let error = format.write(&mut out, Document::Bench(&bench)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(out.is_empty() && error.to_string().contains(format.name()), "{error}");
    }
    let mut sizes = comparison();
    sizes.cells.retain(|cell| cell.unit == "bytes");
    assert!(!Format::Hyperfine.supports(&Document::Comparison(&sizes)));
    assert!(Format::Hyperfine.supports(&Document::Comparison(&comparison())));
}

#[test]
fn text_for_people_is_as_it_was_agreed() {
    assert_eq!(of_comparison(Format::Markdown), include_str!("golden/compare.markdown"));
    assert_eq!(of_bench(Format::Markdown), include_str!("golden/bench.markdown"));
    assert_eq!(of_comparison(Format::Github), include_str!("golden/compare.github"));
    assert_eq!(of_comparison(Format::Openmetrics), include_str!("golden/compare.openmetrics"));
    let mut out = Vec::new();
    comparison_human::human(&mut out, &comparison()).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), include_str!("golden/compare.human"));
}

#[test]
fn json_is_read_as_the_comparison_that_it_was() {
    let text = of_comparison(Format::Json);
    let read: Comparison = serde_json::from_str(&text).unwrap();
    assert_eq!(read.cells[0], comparison().cells[0]);
    assert!(read.cells[3].base.is_nan() && read.cells[3].detectable == f64::INFINITY);
    assert_eq!(json(&of_bench(Format::Json))["schema"], "brigade.bench.v1");
}

#[test]
fn every_line_of_jsonl_is_a_figure() {
    let text = of_comparison(Format::Jsonl);
    let read: Vec<Compared> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(read.len(), 5);
    assert_eq!(read[0].case["backend"], NASTY);
    assert_eq!(json(text.lines().next().unwrap())["schema"], "brigade.compare.v1");
    let text = of_bench(Format::Jsonl);
    let names: Vec<Value> = text.lines().map(|line| json(line)["name"].clone()).collect();
    assert_eq!(names[0], "latency round_trip backend=threads bytes=0");
    assert_eq!(names[2], "latency round_trip backend=threads bytes=0 #2");
}

#[test]
fn csv_has_the_same_fields_in_every_row() {
    let text = of_comparison(Format::Csv);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let at = |name| heads.iter().position(|head| head == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(json(&rows[0][at("case")])["backend"], NASTY);
    assert_eq!((&rows[0][at("verdict")], &rows[0][at("ratio")]), ("worse", "1.25"));
    assert_eq!((&rows[3][at("base")], &rows[3][at("detectable")]), ("", "inf"));
    assert!(rows[3][at("why")].starts_with(&printable(NASTY)));
    let text = of_bench(Format::Csv);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!((rows.len(), &rows[0][7]), (5, "4"));
    assert!(rows[4][13].contains(&printable(NASTY)), "{:?}", rows[4]);
}

fn attribute(element: &BytesStart<'_>, name: &str) -> String {
    let attribute = element.try_get_attribute(name).unwrap().unwrap_or_else(|| panic!("{name}"));
    quick_xml::escape::unescape(&attribute.value).unwrap().into_owned()
}

#[test]
fn junit_has_a_case_for_each_figure_and_counts_them() {
    let text = of_comparison(Format::Junit);
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut inside, mut counts, mut found) = (String::new(), Vec::new(), Vec::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(e) if e.name().0 == "testsuite" => {
                counts = ["tests", "failures", "skipped"].map(|name| attribute(&e, name)).to_vec();
            }
            Event::Start(e) if e.name().0 == "testcase" => inside = attribute(&e, "name"),
            Event::Empty(e) if ["failure", "skipped"].contains(&e.name().0) => {
                let name = e.name().0.to_string();
                found.push((inside.clone(), name, attribute(&e, "message")));
            }
            _ => {}
        }
    }
    assert_eq!(counts, ["5", "1", "2"]);
    let kinds: Vec<&str> = found.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["failure", "skipped", "skipped"]);
    assert!(found[0].0.contains(&Value::from(NASTY).to_string()), "{}", found[0].0);
    // The control character is none that XML can have.
    assert!(found[2].2.contains(&format!("Cannot tell: {NASTY}\u{fffd}: ")), "{}", found[2].2);
}

#[test]
fn github_shows_the_ten_worst_and_counts_the_rest() {
    let mut many = comparison();
    let [worse, better] = [&many.cells[0], &many.cells[4]].map(Clone::clone);
    many.cells = std::iter::repeat_n(better, 8).chain(std::iter::repeat_n(worse, 5)).collect();
    let text = written(Format::Github, Document::Comparison(&many));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 11, "{text}");
    assert!(lines[..5].iter().all(|line| line.starts_with("::error title=worse")), "{text}");
    assert_eq!(lines[10], "::notice title=brigade::3 more");

    many.cells.clear();
    many.verdict = Verdict::Same;
    let text = written(Format::Github, Document::Comparison(&many));
    assert_eq!(text, "::notice title=brigade::same: 0 figures; tolerance 5 %25, seed 7.\n");
}

#[test]
fn bencher_has_latency_in_nanoseconds_and_no_figure_without_a_value() {
    let value = json(&of_bench(Format::Bencher));
    let first = &value["latency round_trip backend=threads bytes=0"]["latency"];
    assert_eq!((&first["value"], &first["lower_value"]), (&4000.0.into(), &3500.0.into()));
    assert_eq!(value["latency round_trip workers=2"]["bytes"]["value"], 4096.0);
    assert_eq!(value.as_object().unwrap().len(), 4);
    assert_eq!(json(&of_comparison(Format::Bencher)).as_object().unwrap().len(), 4);
}

#[test]
fn github_action_benchmark_has_numbers_with_their_ranges() {
    let value = json(&of_bench(Format::GithubActionBenchmark));
    assert_eq!(value.as_array().unwrap().len(), 4);
    assert_eq!((&value[0]["value"], &value[0]["unit"]), (&4.0.into(), &"us".into()));
    assert_eq!(value[0]["range"], "± 1");
    assert_eq!(value[0]["extra"], "median of 3 samples, between 3.5 and 5");
}

#[test]
fn hyperfine_has_two_commands_in_seconds_with_their_cpu_times() {
    let value = json(&written(Format::Hyperfine, Document::Comparison(&two_commands())));
    let results = value["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let [base, head] = [&results[0], &results[1]];
    assert_eq!(base["command"], "./base --jobs 8");
    assert_eq!((&base["mean"], &base["user"]), (&3.75.into(), &2.5.into()));
    assert_eq!(base["times"], serde_json::json!([3.0, 4.5]));
    // sqrt(((3 - 3.75)^2 + (4.5 - 3.75)^2) / 1)
    assert!((base["stddev"].as_f64().unwrap() - 1.125f64.sqrt()).abs() < 1e-12);
    // The run that failed is not there.
    assert_eq!((&head["times"], &head["stddev"]), (&serde_json::json!([6.0]), &Value::Null));
    assert_eq!(head["exit_codes"], serde_json::json!([0]));
    assert_eq!(json(&of_bench(Format::Hyperfine))["results"].as_array().unwrap().len(), 3);
}
