use serde_json::json;

use super::*;

fn entry(commit: &str, hour: usize, host: &Value, median: f64) -> HistoryEntry {
    let figure = |name: &str, median: f64| Kept {
        name: name.to_owned(),
        unit: "us".to_owned(),
        median,
        interval: Some([median * 0.99, median * 1.01]),
        samples: 20,
        blocks: 10,
    };
    HistoryEntry {
        schema: ENTRY_SCHEMA.to_owned(),
        commit: commit.to_owned(),
        commit_time: format!("2026-01-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24),
        added: "2026-02-01T00:00:00Z".to_owned(),
        result: "brigade.compare.v1".to_owned(),
        machine: machine(host),
        host: host.clone(),
        figures: vec![figure("ab wall", median), figure("ab cpu", 7.0)],
    }
}

fn host() -> Value {
    json!({"cpu": "Xeon", "cores_usable": 2, "memory_total_bytes": 4_100_000_000_u64,
           "virtual_machine": "kvm", "kernel": "6.1"})
}

/// Forty commits. From the 21st on, the measured time is 5 % longer.
fn step() -> Vec<HistoryEntry> {
    let value = |i: usize| if i < 20 { 100.0 } else { 105.0 } + [0.0, 0.4, 0.8, 0.2][i % 4];
    (0..40).map(|i| entry(&format!("c{i}"), i, &host(), value(i))).collect()
}

fn line(count: usize) -> Vec<KnownCommit> {
    let known = |i| KnownCommit { commit: format!("c{i}"), subject: format!("Change {i}") };
    (0..count).map(known).collect()
}

#[test]
fn a_series_for_each_figure_in_the_order_of_time() {
    let mut entries = step();
    entries.reverse();
    let found = history(&entries, &CommitOrder::Time);
    assert_eq!(
        found.series.iter().map(|of| &of.name[..]).collect::<Vec<_>>(),
        ["ab cpu", "ab wall"]
    );
    let wall = &found.series[1];
    assert_eq!((&wall.points[0].commit[..], &wall.points[39].commit[..]), ("c0", "c39"));
    assert_eq!(found.series[0].changes, []);
    let [change] = &wall.changes[..] else { panic!("{:?}", wall.changes) };
    assert_eq!((change.at, &change.commit[..], &change.after[..]), (20, "c20", "c19"));
    assert_eq!((&change.direction[..], change.unmeasured), ("slower", None));
    assert!((change.ratio.estimate - 1.05).abs() < 0.01);
    assert_eq!(wall.levels.len(), 2);
}

#[test]
fn the_line_of_commits_goes_before_their_times_and_leaves_out_what_is_not_on_it() {
    // The clock of the last commit's author was a month behind.
    let mut entries = step();
    entries[39].commit_time = "2025-12-01T00:00:00Z".to_owned();
    entries.push(entry("elsewhere", 900, &host(), 900.0));
    let mut line = line(41);
    line.insert(20, KnownCommit { commit: "unmeasured".to_owned(), subject: String::new() });
    let found = history(&entries, &CommitOrder::FirstParent(line));
    let wall = &found.series[1];
    assert_eq!((wall.points.len(), &wall.points[39].commit[..]), (40, "c39"));
    assert_eq!(wall.points[3].subject.as_deref(), Some("Change 3"));
    assert_eq!(wall.changes[0].unmeasured, Some(1));
    assert_eq!(wall.changes[0].subject.as_deref(), Some("Change 20"));
}

#[test]
fn machines_are_kept_apart_and_what_else_changed_is_told() {
    let mut entries = step();
    let mut other = host();
    other["cpu"] = json!("EPYC");
    for (i, entry) in entries.iter_mut().enumerate() {
        if i % 2 == 1 {
            (entry.machine, entry.host) = (machine(&other), other.clone());
        }
        if i >= 20 {
            entry.host["kernel"] = json!("6.5");
        }
    }
    let found = history(&entries, &CommitOrder::Time);
    assert_eq!(found.series.len(), 4);
    let walls: Vec<_> = found.series.iter().filter(|of| of.name == "ab wall").collect();
    assert_eq!(walls[0].machine, "EPYC, 2 cores, 4 GiB, kvm");
    assert_eq!(walls[1].machine, "Xeon, 2 cores, 4 GiB, kvm");
    assert_eq!(walls[1].points.len(), 20);
    assert_eq!(walls[1].changes[0].beside, ["kernel: 6.1 and 6.5"]);
    assert_eq!(
        machine(&Value::Null),
        "unknown, unknown cores, unknown memory, unknown kind of machine"
    );
}

#[test]
fn a_slowdown_counts_until_it_is_old_undone_or_accepted() {
    let found = history(&step(), &CommitOrder::Time);
    let wall = &found.series[1];
    let commits = |last, tolerance, accepted: &[&str]| {
        wall.slowdowns(last, tolerance, accepted).iter().map(|of| of.at).collect::<Vec<_>>()
    };
    assert_eq!(commits(20, 0.02, &[]), [20]);
    assert_eq!(commits(19, 0.02, &[]), [0; 0], "it is the 20th from the end");
    assert_eq!(commits(20, 0.06, &[]), [0; 0]);
    assert_eq!(commits(20, 0.02, &["c20"]), [0; 0]);
    assert_eq!(commits(20, 0.02, &["c23"]), [0; 0], "near enough");
    assert_eq!(commits(20, 0.02, &["c24", "c16"]), [20]);
    // A later commit undoes the slowdown.
    let mut entries = step();
    for entry in &mut entries[30..] {
        entry.figures[0].median -= 5.0;
    }
    let undone = history(&entries, &CommitOrder::Time);
    assert_eq!(undone.series[1].changes.len(), 2);
    assert!(undone.series[1].slowdowns(40, 0.02, &[]).is_empty());
}

#[test]
fn figures_of_0_have_no_levels() {
    let mut entries = step();
    entries[7].figures[0].median = 0.0;
    let found = history(&entries, &CommitOrder::Time);
    assert!(found.series[1].levels.is_empty() && found.series[1].changes.is_empty());
    assert!(found.series[1].slowdowns(40, 0.01, &[]).is_empty());
}

#[test]
fn json_comes_back_as_it_was() {
    let found = history(&step(), &CommitOrder::Time);
    let text = serde_json::to_string(&found).unwrap();
    let again: History = serde_json::from_str(&text).unwrap();
    assert_eq!(again.series[1].changes[0].commit, "c20");
    assert_eq!(again.series.len(), found.series.len());
}
