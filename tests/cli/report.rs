//! Pages of saved results.

use crate::util::Kitchen;

#[test]
fn a_run_becomes_a_page_beside_its_result() {
    let kitchen = Kitchen::new();
    kitchen.run("run noop -b sync --jobs 3 --format json --output result.json").expect(0);
    let done = kitchen.run("report result.json").expect(0);
    assert!(done.stdout.is_empty() && done.stderr.contains("result.html"), "{done:?}");
    let page = String::from_utf8(kitchen.read("result.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("result.json · written 2"));
    kitchen.run("report result.json -o again.html").expect(0);
    assert_eq!(kitchen.read("again.html"), page.as_bytes(), "a page depends on its file alone");
    assert_eq!(kitchen.run("report result.json -o -").expect(0).stdout, page);
}

#[test]
fn what_is_not_a_result_is_exit_2_and_leaves_nothing() {
    let kitchen = Kitchen::new();
    kitchen.write("page.json", "<html>");
    kitchen.write("list.json", "[1, 2]");
    kitchen.write("kernels.json", r#"{"schema": "brigade.kernels.v1"}"#);
    kitchen.write("empty.json", "");
    for (file, says) in [
        ("page.json", "was it saved without --format json?"),
        ("list.json", "names no schema"),
        ("kernels.json", "brigade.bench.v1"),
        ("empty.json", "was it saved without --format json?"),
        ("none.json", "No such file"),
    ] {
        let done = kitchen.run(&format!("report {file}")).expect(2);
        assert_eq!(done.stderr.lines().count(), 1, "{file}: {}", done.stderr);
        assert!(done.stderr.contains(says) && done.stderr.contains(file), "{}", done.stderr);
    }
    assert_eq!(kitchen.list(".").len(), 4, "no page");
}

#[test]
fn a_result_is_not_replaced_by_its_page() {
    let kitchen = Kitchen::new();
    kitchen.write("a.json", r#"{"schema": "brigade.bench.v1"}"#);
    kitchen.run("report a.json -o ./a.json").expect(2).says("-o");
    kitchen.run("report a.json -o no/such/a.html").expect(2).says("no/such/a.html");
    assert_eq!(kitchen.list("."), ["a.json"]);
}
