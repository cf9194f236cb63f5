use std::cell::RefCell;

use super::*;

fn plan(blocks: usize, seed: u64) -> Plan {
    Plan { blocks, budget: None, precision: None, seed }
}

fn go(variants: &mut [Variant<'_>], plan: &Plan) -> ExperimentResults {
    let mut hooks = ExperimentHooks { done: &mut |_| {}, is_interrupted: &|| false };
    run("test", &[Metric::us("x")], variants, plan, &mut hooks)
}

#[test]
fn every_variant_runs_once_in_each_block_in_an_order_of_the_seeds() {
    let order = |seed| {
        let log = RefCell::new(Vec::new());
        let mut variants: Vec<Variant<'_>> = (0..5)
            .map(|i| {
                let log = &log;
                Variant::new(Map::new(), move || {
                    log.borrow_mut().push(i);
                    Ok(vec![f64::from(i)])
                })
            })
            .collect();
        let measured = go(&mut variants, &plan(4, seed));
        assert!(measured.cells.iter().all(|cell| cell.n == 4));
        assert_eq!(measured.blocks.len(), 4);
        drop(variants);
        let log = log.into_inner();
        for block in log.chunks(5) {
            let mut block = block.to_vec();
            block.sort_unstable();
            assert_eq!(block, [0, 1, 2, 3, 4]);
        }
        log
    };
    assert_eq!(order(7), order(7));
    assert_ne!(order(7), order(8));
}

#[test]
fn a_variant_that_fails_hides_no_other() {
    let mut turns = 0;
    let mut variants = [
        Variant::new(Map::new(), || Ok(vec![1.0, 2.0])),
        Variant::new(Map::new(), move || {
            turns += 1;
            if turns == 3 { Err("no more".to_owned()) } else { Ok(vec![5.0]) }
        }),
    ];
    let cells = go(&mut variants, &plan(6, 1)).cells;
    assert_eq!((cells[0].n, &cells[0].error), (12, &None));
    assert_eq!((cells[1].n, cells[1].error.as_deref()), (2, Some("no more")));
    assert_eq!(cells[0].per_block, [2; 6]);
    assert_eq!(cells[0].block_medians(), [1.5; 6]);
}

#[test]
fn an_interrupted_experiment_keeps_what_it_has() {
    let runs = RefCell::new(0);
    let mut variants: Vec<Variant<'_>> =
        (0..3).map(|_| Variant::new(Map::new(), || Ok(vec![1.0]))).collect();
    let mut hooks = ExperimentHooks {
        done: &mut |done| *runs.borrow_mut() = done,
        is_interrupted: &|| *runs.borrow() == 4,
    };
    let measured = run("test", &[Metric::us("x")], &mut variants, &plan(100, 1), &mut hooks);
    assert_eq!(measured.cells.iter().map(|cell| cell.n).sum::<usize>(), 4);
    assert_eq!(measured.blocks.len(), 2);
}

#[test]
fn blocks_end_when_the_intervals_are_narrow_or_the_budget_is_spent() {
    let mut rng = Rng::new(3);
    let mut steady =
        [Variant::new(Map::new(), move || Ok(vec![100.0 + rng.roll(100) as f64 / 100.0]))];
    let narrow = Plan { precision: Some(0.05), ..plan(1000, 1) };
    assert_eq!(go(&mut steady, &narrow).blocks.len(), LEAST_BLOCKS);
    let spent = Plan { budget: Some(Duration::ZERO), ..plan(1000, 1) };
    assert_eq!(go(&mut steady, &spent).blocks.len(), 1);
}

#[test]
fn the_first_block_ends_with_the_budget_too() {
    // Each run takes longer than the budget, so only the first of the three variants runs.
    let slow = || {
        std::thread::sleep(Duration::from_millis(2));
        Ok(vec![1.0])
    };
    let mut variants: Vec<Variant<'_>> = (0..3).map(|_| Variant::new(Map::new(), slow)).collect();
    let short = Plan { budget: Some(Duration::from_millis(1)), ..plan(1000, 1) };
    let measured = go(&mut variants, &short);
    assert_eq!(measured.cells.iter().map(|cell| cell.n).sum::<usize>(), 1);
    assert_eq!((measured.cells.len(), measured.blocks.len()), (3, 1));
    assert!(measured.cells.iter().all(|cell| cell.error.is_none()));
}

#[test]
fn each_metric_has_a_cell() {
    let metrics = [Metric::us("wall"), Metric { name: "memory", unit: "bytes" }];
    let run_once = || Ok(vec![vec![3.0], vec![4096.0]]);
    let mut variants = [Variant { case: Map::new(), run: Box::new(run_once) }];
    let mut hooks = ExperimentHooks { done: &mut |_| {}, is_interrupted: &|| false };
    let cells = run("test", &metrics, &mut variants, &plan(2, 1), &mut hooks).cells;
    assert_eq!((cells[0].metric, cells[0].p50), ("wall", 3.0));
    assert_eq!((cells[1].unit, cells[1].p50), ("bytes", 4096.0));
}

#[test]
fn a_few_blocks_have_no_interval() {
    let cell = |blocks| {
        let mut turn = 0.0;
        let mut variants = [Variant::new(Map::new(), move || {
            turn += 1.0;
            Ok(vec![turn])
        })];
        serde_json::to_value(&go(&mut variants, &plan(blocks, 1)).cells[0]).unwrap()
    };
    assert_eq!(cell(5)["ci95"], Value::Null);
    assert_eq!(cell(5)["p50"], 3.0);
    assert_eq!(cell(6)["ci95"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_interval_is_of_the_median_that_is_printed() {
    // In most blocks most samples are fast, and every block has some slow ones. The median of the
    // block medians therefore differs from the median of all samples.
    let blocks: Vec<Vec<f64>> = (0..12)
        .map(|i| {
            let slow = if i % 3 == 0 { 180 } else { 40 };
            (0..200).map(|at| if at < slow { 30.0 } else { 20.0 + f64::from(i) / 100.0 }).collect()
        })
        .collect();
    let cell = cell("test", Metric::us("x"), Map::new(), &blocks, 1);
    let [low, high] = cell.ci95;
    assert!(low <= cell.p50 && cell.p50 <= high, "{} in {low} .. {high}", cell.p50);
}

#[test]
fn the_interval_holds_the_median_and_narrows_with_less_noise() {
    let noisy = |spread: f64| {
        let mut rng = Rng::new(3);
        let blocks: Vec<Vec<f64>> =
            (0..30).map(|_| vec![100.0 + spread * (rng.roll(1000) as f64 / 500.0 - 1.0)]).collect();
        interval(&blocks, 1)
    };
    let (wide, narrow) = (noisy(50.0), noisy(1.0));
    assert!(wide[0] < 100.0 && wide[1] > 100.0);
    assert!(narrow[1] - narrow[0] < wide[1] - wide[0]);
}
