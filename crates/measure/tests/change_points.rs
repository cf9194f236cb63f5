//! How often change points are found where there are none, and where there are, in series that are
//! made up from a seed. `docs/history.md` has the figures of the full simulation:
//!
//! ```text
//! cargo test -p brigade-measure --test change_points -- --ignored --nocapture
//! ```

use brigade_measure::change_points::change_points;
use brigade_measure::rng::Rng;

/// Standard normal (Box and Muller, "A note on the generation of random normal deviates",
/// 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.uniform()).cos()
}

/// The noise of commits' figures: what is added to the level, in standard deviations.
#[derive(Clone, Copy, Debug)]
enum Noise {
    Normal,
    /// Exponential: bounded below, far above now and then.
    Lopsided,
    /// Normal, but one in ten was disturbed and is slower by 3 to 15 standard deviations.
    Outliers,
    /// Student's t with 3 degrees of freedom, scaled to the same standard deviation.
    Tails,
    /// Each has this share of the one before: a first-order autoregressive process.
    Correlated(f64),
}

impl Noise {
    fn series(self, count: usize, rng: &mut Rng) -> Vec<f64> {
        let mut before = normal(rng);
        let mut next = || match self {
            Self::Normal => normal(rng),
            Self::Lopsided => -(1.0 - rng.uniform()).ln() - 1.0,
            Self::Outliers => {
                let off = if rng.roll(10) == 0 { 3.0 + 12.0 * rng.uniform() } else { 0.0 };
                normal(rng) + off
            }
            Self::Tails => {
                let squares: f64 = (0..3).map(|_| normal(rng).powi(2)).sum();
                normal(rng) / squares.sqrt()
            }
            Self::Correlated(rho) => {
                before = rho * before + (1.0 - rho * rho).sqrt() * normal(rng);
                before
            }
        };
        std::iter::repeat_with(&mut next).take(count).collect()
    }

    fn name(self) -> String {
        match self {
            Self::Normal => "normal".to_owned(),
            Self::Lopsided => "lopsided (exponential)".to_owned(),
            Self::Outliers => "one in ten 3 to 15 deviations slower".to_owned(),
            Self::Tails => "heavy tails (t, 3 degrees of freedom)".to_owned(),
            Self::Correlated(rho) => format!("neighbours correlate by {rho}"),
        }
    }
}

const KINDS: [Noise; 7] = [
    Noise::Normal,
    Noise::Lopsided,
    Noise::Outliers,
    Noise::Tails,
    Noise::Correlated(0.2),
    Noise::Correlated(0.3),
    Noise::Correlated(0.5),
];

/// A series of commits, of which those from `at` on are slower by `step`.
fn commits(
    noise: Noise,
    count: usize,
    variation: f64,
    at: usize,
    step: f64,
    rng: &mut Rng,
) -> Vec<f64> {
    let noise = noise.series(count, rng);
    let value = |(i, noise): (usize, f64)| {
        let level = if i < at { 100.0 } else { 100.0 * (1.0 + step) };
        level * (1.0 + variation * noise).max(0.01)
    };
    noise.into_iter().enumerate().map(value).collect()
}

/// Of how many series this holds.
fn share(series: usize, seed: u64, mut holds: impl FnMut(&mut Rng) -> bool) -> f64 {
    let mut rng = Rng::new(seed);
    (0..series).filter(|_| holds(&mut rng)).count() as f64 / series as f64
}

/// How often something is found in 100 commits among which nothing changed, in the whole series.
fn false_alarms(noise: Noise, series: usize) -> f64 {
    share(series, 0x5eed_0001, |rng| {
        !change_points(&commits(noise, 100, 0.01, 100, 0.0, rng)).is_empty()
    })
}

/// The same if it is looked after every commit.
fn false_alarms_while_it_grows(noise: Noise, series: usize) -> f64 {
    share(series, 0x5eed_0002, |rng| {
        let values = commits(noise, 100, 0.01, 100, 0.0, rng);
        (1..=values.len()).any(|count| !change_points(&values[..count]).is_empty())
    })
}

/// Whether a slowdown is found within 5 commits of its place.
fn finds(values: &[f64], at: usize) -> bool {
    let is_it = |found: usize| found.abs_diff(at) <= 5;
    change_points(values).iter().any(|point| is_it(point.at) && point.ratio.estimate > 1.0)
}

/// How often a step is found with so many commits before and after it.
fn found(noise: Noise, [before, after]: [usize; 2], variation: f64, step: f64, n: usize) -> f64 {
    share(n, 0x5eed_0003, |rng| {
        finds(&commits(noise, before + after, variation, before, step, rng), before)
    })
}

/// After how many commits a step is first found, looked for after each; `None` where it is not
/// within 40.
fn delays(noise: Noise, before: usize, variation: f64, step: f64, n: usize) -> Vec<Option<usize>> {
    let mut rng = Rng::new(0x5eed_0004);
    let delay = |_| {
        let values = commits(noise, before + 40, variation, before, step, &mut rng);
        (1..=40).find(|after| finds(&values[..before + after], before))
    };
    (0..n).map(delay).collect()
}

/// How often a step of 3 % after 25 commits is found when 5 commits follow it, and how often it is
/// found by then at the latest if each of the 5 was followed by an analysis.
fn steps_of_3_percent(n: usize) -> (f64, f64) {
    let mut rng = Rng::new(0x5eed_0005);
    let (mut exactly, mut within) = (0, 0);
    for _ in 0..n {
        let values = commits(Noise::Normal, 30, 0.01, 25, 0.03, &mut rng);
        let now = finds(&values, 25);
        exactly += usize::from(now);
        within += usize::from(now || (1..5).any(|after| finds(&values[..25 + after], 25)));
    }
    (exactly as f64 / n as f64, within as f64 / n as f64)
}

/// How far from its place a step of 3 % is named, with so many commits after it.
fn distances(after: usize, n: usize) -> Vec<usize> {
    let mut rng = Rng::new(99);
    let mut found = Vec::new();
    for _ in 0..n {
        let values = commits(Noise::Normal, 60, 0.01, 40, 0.03, &mut rng);
        let points = change_points(&values[..40 + after]);
        found.extend(points.iter().map(|point| point.at.abs_diff(40)));
    }
    found
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[test]
fn stable_series_rarely_have_change_points() {
    for noise in KINDS {
        let found = false_alarms(noise, 200);
        // A share of 1 % has 7 or more of 200 once in 200.
        let most = if matches!(noise, Noise::Correlated(rho) if rho > 0.4) { 0.1 } else { 0.03 };
        assert!(found <= most, "{}: {found}", noise.name());
    }
}

#[test]
fn a_step_of_3_percent_is_found_within_5_commits() {
    let found = found(Noise::Normal, [25, 5], 0.01, 0.03, 200);
    assert!(found >= 0.85, "{found}");
}

/// Takes minutes.
#[test]
#[ignore = "the figures of docs/history.md: takes minutes"]
fn the_figures_of_the_documentation() {
    eprintln!("| noise | looked at once (2,000 series) | after every commit (300 series) |");
    eprintln!("| --- | ---: | ---: |");
    for noise in KINDS {
        eprintln!(
            "| {} | {} | {} |",
            noise.name(),
            percent(false_alarms(noise, 2000)),
            percent(false_alarms_while_it_grows(noise, 300)),
        );
    }
    eprintln!("\n| step | variation | noise | 25 + 5 commits | 15 + 15 commits | 95 + 5 commits |");
    eprintln!("| ---: | ---: | --- | ---: | ---: | ---: |");
    for (step, variation) in [(0.03, 0.01), (0.05, 0.01), (0.03, 0.02), (0.05, 0.02), (0.10, 0.02)]
    {
        for noise in [Noise::Normal, Noise::Lopsided, Noise::Outliers, Noise::Correlated(0.3)] {
            let found = [[25, 5], [15, 15], [95, 5]]
                .map(|sides| percent(found(noise, sides, variation, step, 500)));
            eprintln!(
                "| {} | {} | {} | {} |",
                percent(step),
                percent(variation),
                noise.name(),
                found.join(" | ")
            );
        }
    }
    eprintln!(
        "\n| step | variation | found within 5 | within 10 | within 20 | within 40 | median |"
    );
    eprintln!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (step, variation) in [(0.02, 0.01), (0.03, 0.01), (0.05, 0.01), (0.03, 0.02), (0.05, 0.02)]
    {
        let mut delays = delays(Noise::Normal, 25, variation, step, 1000);
        delays.sort_by_key(|delay| delay.unwrap_or(usize::MAX));
        let within = |most: usize| {
            let found = delays.iter().flatten().filter(|delay| **delay <= most).count();
            percent(found as f64 / delays.len() as f64)
        };
        let median = delays[delays.len() / 2].map_or("-".to_owned(), |delay| delay.to_string());
        let within = [5, 10, 20, 40].map(within);
        eprintln!(
            "| {} | {} | {} | {median} |",
            percent(step),
            percent(variation),
            within.join(" | ")
        );
    }
    let (exactly, within) = steps_of_3_percent(20_000);
    eprintln!(
        "\nof 20,000 steps of 3 %: {} at 25 + 5 commits, {} within 5",
        percent(exactly),
        percent(within)
    );
    eprintln!("\n| commits after the step | at its place | 1 off at most | 2 off | 5 off |");
    eprintln!("| ---: | ---: | ---: | ---: | ---: |");
    for after in [5, 20] {
        let distances = distances(after, 1000);
        let within = |most: usize| {
            let near = distances.iter().filter(|distance| **distance <= most).count();
            percent(near as f64 / distances.len() as f64)
        };
        eprintln!("| {after} | {} |", [0, 1, 2, 5].map(within).join(" | "));
    }
}
