use serde_json::{Map, Value};

use super::{Compared, Comparison, Estimate, SecondRound, Verdict};

/// A result in which all blocks but one failed.
fn unknown() -> Compared {
    Compared {
        experiment: "ab".to_owned(),
        case: Map::new(),
        metric: "wall".to_owned(),
        unit: "us".to_owned(),
        verdict: Verdict::Inconclusive,
        why: "1 block was run".to_owned(),
        blocks: 1,
        ended_by: None,
        tolerance: None,
        budget_s: None,
        base: f64::NAN,
        head: 2.0,
        ratio: Estimate { estimate: f64::NAN, interval: [0.0, f64::INFINITY], confidence: 0.95 },
        aa: None,
        p: f64::NAN,
        p_holm: 1.0,
        detectable: f64::INFINITY,
        confirmed: None,
        second: None,
        base_samples: vec![f64::NAN, 1.5],
        again_samples: Vec::new(),
        head_samples: vec![2.0, f64::NAN],
    }
}

#[test]
fn what_json_cannot_say_is_read_as_it_was_written() {
    let text = serde_json::to_string(&unknown()).unwrap();
    let read: Compared = serde_json::from_str(&text).unwrap();
    assert_eq!(read.detectable, f64::INFINITY);
    assert_eq!(read.ratio.interval, [0.0, f64::INFINITY]);
    assert!(read.base_samples[0].is_nan() && read.head_samples[1].is_nan());
    assert_eq!((read.base_samples[1], read.head_samples[0]), (1.5, 2.0));
    assert!(read.base.is_nan() && read.p.is_nan() && read.ratio.estimate.is_nan());
    // NaN is not equal to itself, so the serialised texts are compared.
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}

#[test]
fn a_figure_that_is_missing_is_an_error_and_not_nan() {
    let mut value = serde_json::to_value(unknown()).unwrap();
    value.as_object_mut().unwrap().remove("head_samples");
    assert!(serde_json::from_value::<Compared>(value.clone()).is_err());
    value["head_samples"] = Value::from("2.0");
    assert!(serde_json::from_value::<Compared>(value).is_err());
}

#[test]
fn a_comparison_of_before_there_were_blocks_in_it_is_still_read() {
    let side = serde_json::json!({"name": "a", "host": {}});
    let mut value = serde_json::json!({
        "schema": super::COMPARE_SCHEMA, "kind": "ab", "base": side, "head": side,
        "tolerance": 0.05, "seed": 1, "took_s": 1.0, "warnings": [], "verdict": "same",
        "cells": [unknown()],
    });
    let read: Comparison = serde_json::from_value(value.clone()).unwrap();
    assert!(read.blocks.is_empty() && !read.interrupted && read.cells[0].second.is_none());

    let estimate = unknown().ratio;
    let second = SecondRound {
        seed: 3,
        verdict: Verdict::Inconclusive,
        why: "interrupted after 1 block".to_owned(),
        blocks: 1,
        ratio: estimate,
        aa: estimate,
        detectable: f64::INFINITY,
        base_samples: vec![1.0, f64::NAN],
        again_samples: vec![1.0, f64::NAN],
        head_samples: vec![1.0, 2.0],
    };
    value["cells"][0]["second"] = serde_json::to_value(second).unwrap();
    value["blocks"] = serde_json::json!([crate::context::Meter::start().stop("ab", 0)]);
    let read: Comparison = serde_json::from_value(value).unwrap();
    let second = read.cells[0].second.as_ref().unwrap();
    assert_eq!((second.seed, second.detectable), (3, f64::INFINITY));
    assert!(second.base_samples[1].is_nan() && read.blocks[0].experiment == "ab");
}
