//! Pages of saved results.

use crate::util::TestDir;

#[test]
fn a_run_becomes_a_page_beside_its_result() {
    let dir = TestDir::new();
    dir.run("run noop -b sync --jobs 3 --format json --output result.json").expect(0);
    let done = dir.run("report result.json").expect(0);
    assert!(done.stdout.is_empty() && done.stderr.contains("result.html"), "{done:?}");
    let page = String::from_utf8(dir.read("result.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("result.json · written 2"));
    dir.run("report result.json -o again.html").expect(0);
    assert_eq!(dir.read("again.html"), page.as_bytes(), "a page depends on its file alone");
    assert_eq!(dir.run("report result.json -o -").expect(0).stdout, page);
}

#[test]
fn several_results_become_one_page() {
    let dir = TestDir::new();
    dir.run("run noop -b sync --jobs 3 --format json --output a.json").expect(0);
    dir.run("run spin -b sync --jobs 2 -p us=1 --format json --output b.json").expect(0);
    dir.run("report a.json b.json").expect(0).says("report.html");
    let page = String::from_utf8(dir.read("report.html")).unwrap();
    assert!(page.contains("Run: noop on sync") && page.contains("Run: spin on sync"));
    dir.run("report a.json b.json -o b.json").expect(2).says("would replace b.json");
    dir.write("c.json", "{}");
    dir.run("report a.json c.json -o d.html").expect(2).says("c.json");
    assert!(!dir.list(".").contains(&"d.html".to_owned()));
}

#[test]
fn what_is_not_a_result_is_exit_2_and_leaves_nothing() {
    let dir = TestDir::new();
    dir.write("page.json", "<html>");
    dir.write("list.json", "[1, 2]");
    dir.write("kernels.json", r#"{"schema": "brigade.kernels.v1"}"#);
    dir.write("empty.json", "");
    for (file, says) in [
        ("page.json", "was it saved without --format json?"),
        ("list.json", "names no schema"),
        ("kernels.json", "brigade.bench.v1"),
        ("empty.json", "was it saved without --format json?"),
        ("none.json", "No such file"),
    ] {
        let done = dir.run(&format!("report {file}")).expect(2);
        assert_eq!(done.stderr.lines().count(), 1, "{file}: {}", done.stderr);
        assert!(done.stderr.contains(says) && done.stderr.contains(file), "{}", done.stderr);
    }
    assert_eq!(dir.list(".").len(), 4, "no page");
}

#[test]
fn a_result_is_not_replaced_by_its_page() {
    let dir = TestDir::new();
    dir.write("a.json", r#"{"schema": "brigade.bench.v1"}"#);
    dir.run("report a.json -o ./a.json").expect(2).says("-o");
    dir.run("report a.json -o no/such/a.html").expect(2).says("no/such/a.html");
    assert_eq!(dir.list("."), ["a.json"]);
}
