//! Builds series with change points from the stored entries.

use std::collections::HashMap;

use serde_json::Value;

use super::{Change, HISTORY_SCHEMA, History, HistoryEntry, Kept, Point, Series, SeriesLevel};
use crate::change_points::{self, ChangePoint, SHORTEST_LEVEL};

/// A commit that git knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCommit {
    /// Commit id.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
}

/// How commits are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOrder {
    /// By their position on this first-parent line, oldest first. Commits that are not on the line
    /// are left out.
    FirstParent(Vec<KnownCommit>),
    /// By commit time.
    Time,
}

impl CommitOrder {
    /// Name used in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FirstParent(_) => "first-parent",
            Self::Time => "time",
        }
    }
}

/// Properties of a machine that are not part of its description and may explain a change.
const BESIDE: [&str; 4] = ["kernel", "os", "governor", "brigade"];

/// A point of a series, with the data that it is built from.
struct PointData<'a> {
    entry: &'a HistoryEntry,
    kept: &'a Kept,
    /// Position on the line of commits.
    place: Option<usize>,
    subject: Option<&'a str>,
}

/// Builds one series per measurement and machine, sorted by name, with its change points. Each
/// measurement must appear at most once per commit and machine in `entries`.
pub fn history(entries: &[HistoryEntry], order: &CommitOrder) -> History {
    let line: HashMap<&str, (usize, &str)> = match order {
        CommitOrder::FirstParent(line) => {
            let known = line.iter().enumerate();
            known.map(|(i, known)| (&known.commit[..], (i, &known.subject[..]))).collect()
        }
        CommitOrder::Time => HashMap::new(),
    };
    let mut all: Vec<((&str, &str, &str), PointData<'_>)> = Vec::new();
    for entry in entries {
        let known = line.get(&entry.commit[..]);
        if known.is_none() && matches!(order, CommitOrder::FirstParent(_)) {
            continue;
        }
        for kept in &entry.figures {
            let place = known.map(|(place, _)| *place);
            let subject = known.map(|(_, subject)| *subject);
            let key = (&kept.name[..], &entry.machine[..], &kept.unit[..]);
            all.push((key, PointData { entry, kept, place, subject }));
        }
    }
    let time =
        |point: &PointData<'_>| (point.entry.commit_time.clone(), point.entry.commit.clone());
    all.sort_by(|(a, first), (b, second)| {
        let by_time = || time(first).cmp(&time(second));
        a.cmp(b).then_with(|| first.place.cmp(&second.place)).then_with(by_time)
    });
    let series = all.chunk_by(|(a, _), (b, _)| a == b).map(|points| {
        let points: Vec<&PointData<'_>> = points.iter().map(|(_, point)| point).collect();
        series(&points)
    });
    History {
        schema: HISTORY_SCHEMA.to_owned(),
        order: order.name().to_owned(),
        warnings: Vec::new(),
        series: series.collect(),
        check: None,
    }
}

fn series(points: &[&PointData<'_>]) -> Series {
    let values: Vec<f64> = points.iter().map(|point| point.kept.median).collect();
    let found = change_points::change_points(&values);
    let has_levels = values.iter().all(|value| value.is_finite() && *value > 0.0);
    let levels = if has_levels { change_points::levels(&values, &found) } else { Vec::new() };
    let level = |level: &change_points::Level| SeriesLevel {
        from: level.from,
        to: level.to,
        value: level.value,
    };
    let first = points[0];
    Series {
        name: first.kept.name.clone(),
        unit: first.kept.unit.clone(),
        machine: first.entry.machine.clone(),
        points: points.iter().map(|point| self::point(point)).collect(),
        levels: levels.iter().map(level).collect(),
        changes: found.iter().map(|found| change(points, found)).collect(),
    }
}

fn point(point: &PointData<'_>) -> Point {
    let PointData { entry, kept, subject, .. } = point;
    Point {
        commit: entry.commit.clone(),
        time: entry.commit_time.clone(),
        subject: subject.map(str::to_owned),
        median: kept.median,
        interval: kept.interval,
        samples: kept.samples,
        blocks: kept.blocks,
    }
}

fn change(points: &[&PointData<'_>], found: &ChangePoint) -> Change {
    let (before, now) = (points[found.at - 1], points[found.at]);
    let is_time = ["ns", "us", "µs", "ms", "s"].contains(&&now.kept.unit[..]);
    let direction = match (found.ratio.estimate > 1.0, is_time) {
        (true, true) => "slower",
        (false, true) => "faster",
        (true, false) => "more",
        (false, false) => "less",
    };
    let between = now.place.zip(before.place).map(|(now, before)| (now - before).saturating_sub(1));
    Change {
        at: found.at,
        commit: now.entry.commit.clone(),
        after: before.entry.commit.clone(),
        subject: now.subject.map(str::to_owned),
        unmeasured: between,
        direction: direction.to_owned(),
        ratio: found.ratio,
        p: found.p,
        beside: beside(&before.entry.host, &now.entry.host),
    }
}

fn beside(before: &Value, now: &Value) -> Vec<String> {
    let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let differs = BESIDE.into_iter().filter(|key| before[*key] != now[*key]);
    differs.map(|key| format!("{key}: {} and {}", said(&before[key]), said(&now[key]))).collect()
}

impl Series {
    /// Whether one of the newest `last` commits changed the level by more than the tolerance, in
    /// either direction, and the change is not accepted.
    pub fn changed(&self, last: usize, tolerance: f64, accepted: &[&str]) -> bool {
        let first = self.points.len().saturating_sub(last);
        let is_large = |ratio: f64| ratio > 1.0 + tolerance || ratio < 1.0 / (1.0 + tolerance);
        self.changes.iter().any(|change| {
            change.at >= first
                && is_large(change.ratio.estimate)
                && !self.is_accepted(change, accepted)
        })
    }

    fn is_accepted(&self, change: &Change, accepted: &[&str]) -> bool {
        let near = |(at, point): (usize, &Point)| {
            at.abs_diff(change.at) < SHORTEST_LEVEL && accepted.contains(&&point.commit[..])
        };
        self.points.iter().enumerate().any(near)
    }

    /// The slowdowns that still hold: introduced by one of the newest `last` commits, larger than
    /// the tolerance, and with the newest level still that much above the level before the change.
    /// Commits in `accepted` made an intended change. Further commits can move a change point a
    /// little, so an accepted commit also covers a change point fewer than [`SHORTEST_LEVEL`]
    /// points away; two separate change points cannot be so close.
    pub fn slowdowns(&self, last: usize, tolerance: f64, accepted: &[&str]) -> Vec<&Change> {
        let newest = self.levels.last().map_or(f64::NAN, |level| level.value);
        let first = self.points.len().saturating_sub(last);
        let holds = |change: &&Change| {
            let before = self.levels.iter().find(|level| level.to == change.at);
            let lasts = before.is_some_and(|before| newest > before.value * (1.0 + tolerance));
            change.at >= first
                && change.ratio.estimate > 1.0 + tolerance
                && lasts
                && !self.is_accepted(change, accepted)
        };
        self.changes.iter().filter(holds).collect()
    }

    /// Value of the latest point over the value of the point before it, if there are two points.
    pub fn newest_change(&self) -> Option<f64> {
        match &self.points[..] {
            [.., before, last] if before.median > 0.0 => Some(last.median / before.median),
            _ => None,
        }
    }
}
