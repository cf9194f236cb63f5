use serde_json::{Map, Value};

use super::{Compared, Estimate, Verdict};

/// What is said where everything failed but one block.
fn unknown() -> Compared {
    Compared {
        experiment: "ab".to_owned(),
        case: Map::new(),
        metric: "wall".to_owned(),
        unit: "us".to_owned(),
        verdict: Verdict::Inconclusive,
        why: "1 block was run".to_owned(),
        blocks: 1,
        base: f64::NAN,
        head: 2.0,
        ratio: Estimate { estimate: f64::NAN, interval: [0.0, f64::INFINITY], confidence: 0.95 },
        aa: None,
        p: f64::NAN,
        p_holm: 1.0,
        detectable: f64::INFINITY,
        confirmed: None,
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
    // NaN is not equal to itself: the text is.
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
