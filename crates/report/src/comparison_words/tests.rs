use super::*;

fn ratio(estimate: f64, interval: [f64; 2]) -> Estimate {
    Estimate { estimate, interval, confidence: 0.99 }
}

fn cell(verdict: Verdict, metric: &str, ratio: Estimate) -> Compared {
    Compared {
        experiment: "ab".to_owned(),
        case: serde_json::Map::new(),
        metric: metric.to_owned(),
        unit: "us".to_owned(),
        verdict,
        why: String::new(),
        blocks: 12,
        ended_by: Some(EndedBy::Verdict),
        tolerance: None,
        budget_s: Some(20.0),
        base: 100.0,
        head: 110.0,
        ratio,
        aa: None,
        p: 0.5,
        p_holm: 0.5,
        detectable: 0.02,
        confirmed: None,
        second: None,
        base_samples: Vec::new(),
        again_samples: Vec::new(),
        head_samples: Vec::new(),
    }
}

#[test]
fn a_change_is_read_in_percent() {
    assert_eq!(change(&ratio(1.012, [1.004, 1.021])), "+1.2 % (+0.4 .. +2.1)");
    assert_eq!(change(&ratio(0.9999, [0.5, f64::INFINITY])), "+0.0 % (-50.0 .. +inf)");
    assert_eq!(change(&ratio(1.01, [0.0, f64::INFINITY])), "+1.0 %");
    assert_eq!(change(&ratio(f64::NAN, [0.5, f64::INFINITY])), "unknown");
    assert_eq!((tolerated(0.07).as_str(), tolerated(0.0025).as_str()), ("7 %", "0.25 %"));
}

#[test]
fn what_is_found_is_beyond_the_tolerance() {
    let mut cell = cell(Verdict::Same, "wall", ratio(1.0, [0.99, 1.01]));
    assert_eq!(smallest(&cell, 0.05), "7.1 %");
    cell.tolerance = Some(0.1);
    assert_eq!(smallest(&cell, 0.05), "12.2 %");
    cell.detectable = f64::INFINITY;
    assert_eq!(smallest(&cell, 0.05), "none");
}

#[test]
fn every_verdict_is_a_sentence() {
    let same = cell(Verdict::Same, "wall", ratio(1.003, [0.995, 1.011]));
    assert_eq!(
        reason(&same, 0.05),
        "Head takes 0.3 % longer (-0.5 to +1.1 %), within the 5 % that are tolerated; 7.1 % or \
         more would usually have been found."
    );
    let better = cell(Verdict::Better, "cpu", ratio(0.88, [0.861, 0.899]));
    assert_eq!(reason(&better, 0.05), "Head uses 12.0 % less processor time (10.1 to 13.9 %).");
    let mut worse = cell(Verdict::Worse, "peak-memory", ratio(1.097, [1.051, 1.138]));
    worse.confirmed = Some(true);
    assert_eq!(
        reason(&worse, 0.05),
        "Head needs 9.7 % more memory (5.1 to 13.8 %), more than the 5 % that are tolerated; a \
         second round found the same. Profile base and head side by side, or raise --tolerance if \
         the change is worth it."
    );
    let alike = Compared { why: "both are alike".to_owned(), ..same };
    let unknown = Compared { ratio: ratio(f64::NAN, [f64::NAN; 2]), ..alike };
    assert_eq!(reason(&unknown, 0.05), "both are alike.");
}

#[test]
fn advice_is_about_what_ended_the_runs() {
    let open = |ended_by| {
        let mut cell = cell(Verdict::Inconclusive, "wall", ratio(1.031, [0.88, 1.09]));
        cell.why = "the true change is somewhere from -12.0 % to +9.0 %".to_owned();
        cell.ended_by = ended_by;
        cell
    };
    assert_eq!(
        reason(&open(Some(EndedBy::Budget)), 0.05),
        "Cannot tell: the true change is somewhere from -12.0 % to +9.0 %. Most likely it is \
         +3.1 %. With this noise only slowdowns above 7.1 % would usually be called worse. Raise --budget \
         (it was 20 s), use --metric cpu, find a quieter machine, or raise --tolerance."
    );
    assert!(reason(&open(Some(EndedBy::Blocks)), 0.05).contains("Run more blocks (--blocks), use"));
    assert!(!reason(&open(Some(EndedBy::Blocks)), 0.05).contains("--budget"));
    assert!(reason(&open(Some(EndedBy::Interruption)), 0.05).ends_with("come to its end."));
    assert!(reason(&open(Some(EndedBy::Failure)), 0.05).ends_with("Most likely it is +3.1 %."));
    let few = Compared { detectable: f64::INFINITY, ..open(Some(EndedBy::Budget)) };
    assert!(reason(&few, 0.05).contains("So few blocks find nothing. Raise --budget"));
    // Two saved results know no budget.
    assert!(reason(&open(None), 0.05).contains("Run more blocks (--blocks)"));
    let memory = Compared { metric: "peak-memory".to_owned(), ..open(Some(EndedBy::Budget)) };
    assert!(!reason(&memory, 0.05).contains("--metric cpu"));
}
