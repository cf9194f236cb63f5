//! Determines which backend is cheapest, by payload and compute time: one verdict per point of the
//! grid, from ratios within blocks.

use brigade_measure::comparison::Estimate;
use brigade_measure::experiment::Cell;
use brigade_measure::models::{self, AtWorkers, Refused};
use brigade_report::units;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::figures::{of_blocks, time, whole_blocks};
use super::session::BenchSession;

/// An entry of `models` in the result.
#[derive(Serialize)]
struct Cheapest {
    /// Always "cheapest".
    model: &'static str,
    /// The number of workers.
    case: Map<String, Value>,
    points: Vec<CheapestAt>,
    /// Backends that are not cheapest at any point, not even possibly.
    never: Vec<String>,
}

/// The verdict for one payload and compute time.
#[derive(Serialize)]
struct CheapestAt {
    bytes: u64,
    compute_us: f64,
    /// The backend with the shortest time.
    cheapest: String,
    /// Whether the intervals show that every other backend takes longer.
    decided: bool,
    per_job_us: f64,
    others: Vec<ComparedBackend>,
}

/// A backend that was compared with the cheapest one.
#[derive(Serialize)]
struct ComparedBackend {
    backend: String,
    /// Its time over that of the cheapest backend, from ratios within blocks.
    ratio: Estimate,
}

impl CheapestAt {
    /// Whether a backend is cheapest here, or possibly is.
    fn may_be(&self, backend: &str) -> bool {
        let other = self.others.iter().find(|other| other.backend == backend);
        self.cheapest == backend || other.is_some_and(|other| other.ratio.interval[0] <= 1.0)
    }
}

/// Fits the model for one number of workers and states its result in words.
pub(super) fn conclude(workers: usize, cells: &[Cell], session: &mut BenchSession<'_>) {
    let case = super::case(json!({"workers": workers}));
    let places = match places(workers, cells, session.common.plan.seed) {
        Ok(places) => places,
        Err(refused) => {
            let Refused { reason, .. } = session.advised(refused);
            // Other models of these blocks already add a sentence with this reason.
            session.models.push(
                json!({"model": "refused", "of": "cheapest", "reason": reason, "case": case}),
            );
            return;
        }
    };
    let mut backends: Vec<String> = Vec::new();
    for backend in places
        .iter()
        .flat_map(|place| place.others.iter().map(|other| &other.backend).chain([&place.cheapest]))
    {
        if !backends.contains(backend) {
            backends.push(backend.clone());
        }
    }
    if backends.len() < 2 {
        return;
    }
    let mut never = backends;
    never.retain(|backend| !places.iter().any(|place| place.may_be(backend)));
    for sentence in said(workers, &places, &never) {
        session.find(sentence);
    }
    let model = Cheapest { model: "cheapest", case, points: places, never };
    session.models.push(serde_json::to_value(model).unwrap_or_default());
}

/// Every point of the grid that has at least two backends, sorted by payload and compute time.
fn places(workers: usize, cells: &[Cell], seed: u64) -> Result<Vec<CheapestAt>, Refused> {
    let number = |cell: &Cell, key: &str| cell.case.get(key).and_then(Value::as_f64);
    let takes_part = |cell: &&Cell| {
        // These backends have only one worker, so they take part for every number of workers.
        let alone = ["sync", "async"].contains(&backend(cell));
        cell.error.is_none() && (alone || number(cell, "workers") == Some(workers as f64))
    };
    let cells: Vec<&Cell> = cells.iter().filter(takes_part).collect();
    let mut at: Vec<(u64, f64)> = Vec::new();
    for cell in &cells {
        let bytes = cell.case.get("bytes").and_then(Value::as_u64);
        if let (Some(bytes), Some(us)) = (bytes, number(cell, "compute_us"))
            && !at.contains(&(bytes, us))
        {
            at.push((bytes, us));
        }
    }
    at.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut places = Vec::new();
    for (bytes, compute_us) in at {
        let here = cells.iter().copied().filter(|cell| {
            number(cell, "bytes") == Some(bytes as f64)
                && number(cell, "compute_us") == Some(compute_us)
        });
        if let Some((cheapest, others)) = ranked(&here.collect::<Vec<_>>(), seed)? {
            places.push(CheapestAt {
                bytes,
                compute_us,
                cheapest: backend(cheapest).to_owned(),
                decided: others.iter().all(|other| other.ratio.interval[0] > 1.0),
                per_job_us: cheapest.p50,
                others,
            });
        }
    }
    Ok(places)
}

fn backend(cell: &Cell) -> &str {
    cell.case.get("backend").and_then(Value::as_str).unwrap_or_default()
}

/// The cheapest of these cells, and the ratio of each other cell's time to it.
fn ranked<'a>(
    cells: &[&'a Cell],
    seed: u64,
) -> Result<Option<(&'a Cell, Vec<ComparedBackend>)>, Refused> {
    let blocks = whole_blocks(cells.iter().copied());
    // How many times as long `other` takes as `this`. That equals the speedup of `this` over
    // `other`.
    let ratio = |other: &Cell, this: &Cell| -> Result<Option<Estimate>, Refused> {
        let this = AtWorkers { workers: 1, blocks: of_blocks(this, blocks) };
        let found = models::speedup(&of_blocks(other, blocks), &[this], seed)?;
        Ok(found.points.first().map(|point| point.speedup))
    };
    let Some((&first, rest)) = cells.split_first() else {
        return Ok(None);
    };
    let mut cheapest = first;
    for other in rest {
        if ratio(other, cheapest)?.is_some_and(|ratio| ratio.estimate < 1.0) {
            cheapest = other;
        }
    }
    let mut others = Vec::new();
    for other in cells.iter().filter(|other| !std::ptr::eq(**other, cheapest)) {
        if let Some(ratio) = ratio(other, cheapest)? {
            others.push(ComparedBackend { backend: backend(other).to_owned(), ratio });
        }
    }
    others.sort_by(|a, b| a.ratio.estimate.total_cmp(&b.ratio.estimate));
    Ok((!others.is_empty()).then_some((cheapest, others)))
}

/// States the result in words, one sentence per payload size: "cheapest without payload, with 2
/// workers, by what a job computes: 0 ns to 10 µs sync; 1 ms processes". A last sentence names the
/// backends that are never cheapest.
fn said(workers: usize, places: &[CheapestAt], never: &[String]) -> Vec<String> {
    let mut sizes: Vec<u64> = places.iter().map(|place| place.bytes).collect();
    sizes.dedup();
    let mut sentences = Vec::new();
    for bytes in sizes {
        let row: Vec<&CheapestAt> = places.iter().filter(|place| place.bytes == bytes).collect();
        let name = |place: &CheapestAt| match place.decided {
            true => place.cheapest.clone(),
            false => {
                let maybe = place.others.iter().filter(|other| place.may_be(&other.backend));
                let names = maybe.map(|other| other.backend.as_str());
                let names: Vec<&str> = [&*place.cheapest].into_iter().chain(names).collect();
                format!("undecided ({})", names.join(" or "))
            }
        };
        let mut runs: Vec<(String, f64, f64)> = Vec::new();
        for place in row {
            let name = name(place);
            match runs.last_mut() {
                Some((last, _, to)) if *last == name => *to = place.compute_us,
                _ => runs.push((name, place.compute_us, place.compute_us)),
            }
        }
        let parts = runs.iter().map(|(name, from, to)| match from == to {
            true => format!("{} {name}", time(*from)),
            false => format!("{} to {} {name}", time(*from), time(*to)),
        });
        let payload = match bytes {
            0 => "without payload".to_owned(),
            bytes => format!("with {} of payload", units::bytes(bytes)),
        };
        sentences.push(format!(
            "cheapest {payload}, with {}, by what a job computes: {}",
            units::count(workers as u64, "worker"),
            parts.collect::<Vec<_>>().join("; ")
        ));
    }
    if !never.is_empty() {
        let workers = units::count(workers as u64, "worker");
        sentences.push(format!("never cheapest with {workers}: {}", never.join(", ")));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_measure::experiment::{ExperimentHooks, Metric, Plan, Variant, run};
    use brigade_measure::rng::Rng;

    /// Cells whose blocks vary together by a factor of up to two, and independently by `noise`.
    fn cells(all: &[(&str, usize, u64, f64, f64)], noise: f64) -> Vec<Cell> {
        let mut turn = vec![0_u32; all.len()];
        let mut variants: Vec<Variant<'_>> = all
            .iter()
            .zip(&mut turn)
            .enumerate()
            .map(|(place, (&(backend, workers, bytes, compute_us, us), turn))| {
                let case = json!({"backend": backend, "workers": workers, "bytes": bytes,
                                  "compute_us": compute_us});
                Variant::new(super::super::case(case), move || {
                    *turn += 1;
                    let shared = 1.0 + f64::from(*turn % 4) / 3.0;
                    let own = 1.0 + noise * f64::from((*turn * 7 + place as u32 * 5) % 11) / 11.0;
                    Ok(vec![us * shared * own])
                })
            })
            .collect();
        let plan = Plan { blocks: 12, budget: None, precision: None, seed: 1 };
        let mut hooks = ExperimentHooks { done: &mut |_| {}, is_interrupted: &|| false };
        run("break-even", &[Metric::us("per_job")], &mut variants, &plan, &mut hooks).cells
    }

    #[test]
    fn what_disturbs_a_block_decides_nothing_and_what_differs_within_blocks_does() {
        let all = [
            ("sync", 1, 0, 0.0, 1.0),
            ("threads", 2, 0, 0.0, 1.4),
            ("processes", 2, 0, 0.0, 1.6),
            ("sync", 1, 0, 100.0, 100.0),
            ("threads", 2, 0, 100.0, 52.0),
            ("processes", 2, 0, 100.0, 52.1),
            ("threads", 4, 0, 100.0, 1.0),
        ];
        // The intervals of the medians overlap everywhere, because blocks differ by a factor of
        // two.
        let places = places(2, &cells(&all, 0.1), 1).unwrap();
        assert_eq!(places.len(), 2);
        assert!(places[0].decided && places[0].cheapest == "sync");
        assert_eq!(places[0].others[0].backend, "threads");
        assert!((places[0].others[0].ratio.estimate / 1.4 - 1.0).abs() < 0.1);
        assert!(!places[1].decided, "two that take the same");
        assert!(places[1].may_be("threads") && places[1].may_be("processes"));
        assert!(!places[1].may_be("sync"));
        let said = said(2, &places, &["async".to_owned()]);
        assert!(said[0].contains("without payload, with 2 workers"), "{said:?}");
        assert!(said[0].contains("0 ns sync; 100 µs undecided ("), "{said:?}");
        assert_eq!(said[1], "never cheapest with 2 workers: async");
    }

    /// Cells of backends that take the times in `truth`, with noise of 3 % per block and 5 % per
    /// sample.
    fn simulated(truth: &[(&str, f64)], seed: u64) -> Vec<Cell> {
        // Nearly normal: the sum of four uniform numbers.
        let noise = |rng: &mut Rng, deviation: f64| {
            let sum: f64 = (0..4).map(|_| rng.roll(1 << 20) as f64 / f64::from(1 << 20)).sum();
            (deviation * (sum - 2.0) * 3_f64.sqrt()).exp()
        };
        let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        let blocks: Vec<f64> = (0..12).map(|_| noise(&mut rng, 0.03)).collect();
        let mut variants: Vec<Variant<'_>> = truth
            .iter()
            .enumerate()
            .map(|(place, &(backend, us))| {
                let case = json!({"backend": backend, "workers": 2, "bytes": 0, "compute_us": 1.0});
                let mut blocks = blocks.iter();
                let mut rng = Rng::new(seed * 31 + place as u64);
                Variant::new(super::super::case(case), move || {
                    let block = blocks.next().copied().unwrap_or(1.0);
                    Ok((0..5).map(|_| us * block * noise(&mut rng, 0.05)).collect())
                })
            })
            .collect();
        let plan = Plan { blocks: 12, budget: None, precision: None, seed };
        let mut hooks = ExperimentHooks { done: &mut |_| {}, is_interrupted: &|| false };
        run("break-even", &[Metric::us("per_job")], &mut variants, &plan, &mut hooks).cells
    }

    /// With 400 experiments, chance moves a share of 5 % by 2 percentage points (two standard
    /// errors).
    #[test]
    fn of_backends_that_take_the_same_one_is_seldom_decided_for_and_intervals_hold_the_ratio() {
        const EXPERIMENTS: u64 = 400;
        let share = |count: u64| count as f64 / EXPERIMENTS as f64;
        let place = |truth: &[(&str, f64)], seed| {
            places(2, &simulated(truth, seed), seed).unwrap().remove(0)
        };
        let same = [("threads", 10.0), ("processes", 10.0)];
        let wrong = (0..EXPERIMENTS).filter(|&seed| place(&same, seed).decided).count() as u64;
        assert!(share(wrong) <= 0.08, "decided in {wrong} of {EXPERIMENTS}");
        assert!(wrong > 0, "an interval of 95 % that is never wrong is wider than it says");
        let (mut held, mut right) = (0, 0);
        for seed in 0..EXPERIMENTS {
            let found = place(&[("threads", 10.0), ("processes", 10.8)], seed);
            let [low, high] = found.others[0].ratio.interval;
            held += u64::from(found.cheapest == "threads" && low <= 1.08 && 1.08 <= high);
            right += u64::from(found.decided && found.cheapest == "threads");
        }
        assert!((0.92..=0.98).contains(&share(held)), "held in {held} of {EXPERIMENTS}");
        assert!(share(right) > 0.9, "right in {right} of {EXPERIMENTS}");
    }

    #[test]
    fn too_few_blocks_are_refused() {
        let mut cells = cells(&[("sync", 1, 0, 0.0, 1.0), ("threads", 2, 0, 0.0, 2.0)], 0.0);
        for cell in &mut cells {
            cell.per_block.truncate(2);
        }
        assert!(places(2, &cells, 1).is_err_and(|refused| refused.needs_blocks));
    }
}
