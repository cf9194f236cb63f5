//! Sentences about a history.

use brigade_measure::change_points::SHORTEST_LEVEL;
use brigade_measure::history::{Change, Point, Series};

/// As much of a commit's name as people write.
pub(crate) fn short(commit: &str) -> &str {
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { &commit[..10] } else { commit }
}

/// `3.1 % slower (2.4 to 3.8 %)`.
pub(crate) fn size(change: &Change) -> String {
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let is_up = change.ratio.estimate > 1.0;
    let [low, high] = change.ratio.interval.map(percent);
    // Of what is faster, the size is told without its sign; an end on the other side keeps it.
    let [low, high] = if is_up { [low, high] } else { [-high, -low] };
    let estimate = percent(change.ratio.estimate).abs();
    format!("{estimate:.1} % {} ({low:.1} to {high:.1} %)", change.direction)
}

/// `ab wall: 3.1 % slower (2.4 to 3.8 %) since 1a2b3c4d5e (Use a hash map)`.
pub(crate) fn sentence(series: &Series, change: &Change) -> String {
    let mut sentence = format!("{}: {} since {}", series.name, size(change), whose(change));
    if let Some(unmeasured) = change.unmeasured.filter(|count| *count > 0) {
        let commits = brigade_proto::count(unmeasured, "commit");
        sentence.push_str(&format!(
            "; {commits} between {} and it {} not measured, and may have brought it as well",
            short(&change.after),
            if unmeasured == 1 { "was" } else { "were" }
        ));
    }
    if !change.beside.is_empty() {
        sentence.push_str(&format!("; the machine changed as well: {}", change.beside.join(", ")));
    }
    sentence
}

fn whose(change: &Change) -> String {
    match &change.subject {
        Some(subject) => format!("{} ({subject})", short(&change.commit)),
        None => short(&change.commit).to_owned(),
    }
}

/// The newest figure against the one before.
pub(crate) fn step(series: &Series) -> String {
    series.newest_change().map_or("-".to_owned(), |ratio| {
        let percent = (ratio - 1.0) * 100.0;
        format!("{percent:+.1} %")
    })
}

/// Why a series has no change points that it might have; nothing if it may.
pub(crate) fn too_few(series: &Series) -> Option<String> {
    if !series.points.is_empty() && series.levels.is_empty() {
        return Some(format!(
            "{}: a figure is 0 or less, so that there are no ratios: its changes are not looked for",
            series.name
        ));
    }
    let needed = brigade_measure::change_points::FEWEST;
    (series.points.len() < needed).then(|| {
        format!(
            "{}: {}; changes are looked for from {needed} on, and each needs {SHORTEST_LEVEL} \
             after it",
            series.name,
            brigade_proto::count(series.points.len(), "commit"),
        )
    })
}

/// Bars of eight heights for the newest figures.
pub(crate) fn sparkline(points: &[Point], most: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points = &points[points.len().saturating_sub(most)..];
    let least = points.iter().map(|point| point.median).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|point| point.median).fold(f64::NEG_INFINITY, f64::max);
    // Noise of less than 2 % does not fill the height.
    let (middle, reach) = ((least + most) / 2.0, (most - least).max(0.02 * most.abs()) / 2.0);
    let bar = |point: &Point| {
        let share = (point.median - middle + reach) / (2.0 * reach);
        BARS[((share * 8.0) as usize).min(7)]
    };
    points.iter().map(bar).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use brigade_measure::history::{CommitOrder, HistoryEntry, Kept, KnownCommit, history};
    use serde_json::json;

    use super::*;

    /// Sixty commits, of which those from the 41st on take 4 % longer.
    pub(crate) fn sixty() -> brigade_measure::history::History {
        let entry = |i: usize| {
            let noise = [0.3, -0.5, 0.1, 0.6, -0.2, 0.0, -0.6, 0.4, 0.2, -0.3][i * 7 % 10];
            let median = if i < 40 { 50_000.0 } else { 52_000.0 } * (1.0 + noise / 100.0);
            HistoryEntry {
                schema: String::new(),
                commit: format!("{i:040x}"),
                commit_time: format!("2026-01-01T00:{i:02}:00Z"),
                added: String::new(),
                result: String::new(),
                machine: "Xeon, 2 cores, 4 GiB, kvm".to_owned(),
                host: json!({}),
                figures: vec![Kept {
                    name: "ab wall".to_owned(),
                    unit: "us".to_owned(),
                    median,
                    interval: Some([median * 0.993, median * 1.008]),
                    samples: 30,
                    blocks: 30,
                }],
            }
        };
        let subject = |i: usize| match i {
            40 => "Keep names in a <tree>".to_owned(),
            i => format!("Change {i}"),
        };
        let line =
            (0..60).map(|i| KnownCommit { commit: format!("{i:040x}"), subject: subject(i) });
        history(&(0..60).map(entry).collect::<Vec<_>>(), &CommitOrder::FirstParent(line.collect()))
    }

    #[test]
    fn a_sentence_says_what_changed_by_how_much_and_since_when() {
        let history = sixty();
        let series = &history.series[0];
        let mut change = series.changes[0].clone();
        change.ratio.estimate = 1.0412;
        change.ratio.interval = [1.0378, 1.0451];
        let said = sentence(series, &change);
        assert_eq!(
            said,
            "ab wall: 4.1 % slower (3.8 to 4.5 %) since 0000000000 (Keep names in a <tree>)"
        );
        change.unmeasured = Some(2);
        change.beside = vec!["kernel: 6.1 and 6.5".to_owned()];
        let said = sentence(series, &change);
        assert!(said.contains("; 2 commits between 0000000000 and it were not measured, and may"));
        assert!(said.ends_with("the machine changed as well: kernel: 6.1 and 6.5"), "{said}");
        change.direction = "faster".to_owned();
        change.ratio.estimate = 0.95;
        change.ratio.interval = [0.93, 0.97];
        assert_eq!(size(&change), "5.0 % faster (3.0 to 7.0 %)");
    }

    #[test]
    fn bars_rise_with_the_figures_and_stay_low_in_noise() {
        let history = sixty();
        let bars = sparkline(&history.series[0].points, 30);
        assert_eq!(bars.chars().count(), 30);
        assert!(bars.starts_with(['▁', '▂', '▃']) && bars.ends_with(['▆', '▇', '█']), "{bars}");
        assert_eq!(sparkline(&[], 30), "");
        let mut same = history.series[0].points[..4].to_vec();
        same.iter_mut().for_each(|point| point.median = 7.0);
        assert_eq!(sparkline(&same, 30), "▅▅▅▅");
    }

    #[test]
    fn what_is_too_short_says_so() {
        let mut history = sixty();
        let series = &mut history.series[0];
        assert_eq!(too_few(series), None);
        series.points.truncate(3);
        assert!(too_few(series).unwrap().contains("ab wall: 3 commits; changes are looked for"));
        series.levels.clear();
        assert!(too_few(series).unwrap().contains("0 or less"));
        assert_eq!(short("v1.2"), "v1.2");
    }
}
