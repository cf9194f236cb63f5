//! From what was kept to series with change points.

use std::collections::HashMap;

use serde_json::Value;

use super::{Change, Entry, HISTORY_SCHEMA, History, Kept, Level, Point, Series};
use crate::change_points::{self, ChangePoint, SHORTEST_LEVEL};

/// A commit as git knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
}

/// What commits come after one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// As on this line, the oldest first. What is not on it is left out.
    FirstParent(Vec<Known>),
    /// As they were made.
    Time,
}

impl Order {
    /// As it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FirstParent(_) => "first-parent",
            Self::Time => "time",
        }
    }
}

/// What a machine has beside what its name says, which may be why a figure changed.
const BESIDE: [&str; 4] = ["kernel", "os", "governor", "brigade"];

/// A point, and what it is made from.
struct Measured<'a> {
    entry: &'a Entry,
    kept: &'a Kept,
    /// On the line of commits.
    place: Option<usize>,
    subject: Option<&'a str>,
}

/// A series for each figure and machine, by name, with its change points. Each figure of a
/// commit and machine is in `entries` once.
pub fn history(entries: &[Entry], order: &Order) -> History {
    let line: HashMap<&str, (usize, &str)> = match order {
        Order::FirstParent(line) => {
            let known = line.iter().enumerate();
            known.map(|(i, known)| (&known.commit[..], (i, &known.subject[..]))).collect()
        }
        Order::Time => HashMap::new(),
    };
    let mut all: Vec<((&str, &str, &str), Measured<'_>)> = Vec::new();
    for entry in entries {
        let known = line.get(&entry.commit[..]);
        if known.is_none() && matches!(order, Order::FirstParent(_)) {
            continue;
        }
        for kept in &entry.figures {
            let place = known.map(|(place, _)| *place);
            let subject = known.map(|(_, subject)| *subject);
            let key = (&kept.name[..], &entry.machine[..], &kept.unit[..]);
            all.push((key, Measured { entry, kept, place, subject }));
        }
    }
    let time = |point: &Measured<'_>| (point.entry.commit_time.clone(), point.entry.commit.clone());
    all.sort_by(|(a, first), (b, second)| {
        let by_time = || time(first).cmp(&time(second));
        a.cmp(b).then_with(|| first.place.cmp(&second.place)).then_with(by_time)
    });
    let series = all.chunk_by(|(a, _), (b, _)| a == b).map(|points| {
        let points: Vec<&Measured<'_>> = points.iter().map(|(_, point)| point).collect();
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

fn series(points: &[&Measured<'_>]) -> Series {
    let values: Vec<f64> = points.iter().map(|point| point.kept.median).collect();
    let found = change_points::change_points(&values);
    let has_levels = values.iter().all(|value| value.is_finite() && *value > 0.0);
    let levels = if has_levels { change_points::levels(&values, &found) } else { Vec::new() };
    let level =
        |level: &change_points::Level| Level { from: level.from, to: level.to, value: level.value };
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

fn point(point: &Measured<'_>) -> Point {
    let Measured { entry, kept, subject, .. } = point;
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

fn change(points: &[&Measured<'_>], found: &ChangePoint) -> Change {
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
    /// Whether one of the newest `last` commits changed it by more than the tolerance, for the worse
    /// or the better, and was not meant.
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

    /// The changes for the worse that still hold: with one of the newest `last` commits, by more
    /// than the tolerance, and the newest level is still that much above the one before the
    /// change. Commits in `accepted` brought what was meant: so did a change point that is so near
    /// that there cannot be another, since further commits move it a little.
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

    /// The figure of the latest point over that of the point before, if there are two points.
    pub fn newest_change(&self) -> Option<f64> {
        match &self.points[..] {
            [.., before, last] if before.median > 0.0 => Some(last.median / before.median),
            _ => None,
        }
    }
}
