//! Quantities as people read them.

use brigade_proto::Nanos;
pub use brigade_proto::count;

/// A time with three significant digits: `417 ns`, `38.2 ms`, `1.25 s`, `3 min 20 s`.
///
/// ```
/// assert_eq!(brigade_report::units::time(38_249_000), "38.2 ms");
/// ```
pub fn time(ns: Nanos) -> String {
    let value = ns as f64;
    if ns < 1_000 {
        format!("{ns} ns")
    } else if value < 999.5e3 {
        format!("{} µs", digits(value / 1e3))
    } else if value < 999.5e6 {
        format!("{} ms", digits(value / 1e6))
    } else if value < 119.5e9 {
        format!("{} s", digits(value / 1e9))
    } else {
        let seconds = (value / 1e9).round() as u64;
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// A number of bytes with three significant digits: `12 B`, `3.41 MiB`.
///
/// ```
/// assert_eq!(brigade_report::units::bytes(3 << 19), "1.50 MiB");
/// ```
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        value /= 1024.0;
        if value < 999.5 {
            return format!("{} {unit}", digits(value));
        }
    }
    format!("{} TiB", digits(value / 1024.0))
}

/// A number with three significant digits, without exponent: `0.05`, `1.25`,
/// `38.2`, `417`, `1250000`.
pub fn digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// How many of a unit of time are a second; nothing for what is no time.
pub fn per_second(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e9),
        "us" | "µs" => Some(1e6),
        "ms" => Some(1e3),
        "s" => Some(1.0),
        _ => None,
    }
}

/// A value of a metric's unit with three significant digits, in a unit that suits its
/// size; `-` if it is not a number.
///
/// ```
/// use brigade_report::units::quantity;
/// assert_eq!(quantity(1250.0, "us"), "1.25 ms");
/// assert_eq!(quantity(2_500_000.0, "instructions"), "2.50 M instructions");
/// ```
pub fn quantity(value: f64, unit: &str) -> String {
    if !value.is_finite() || value < 0.0 {
        return if value.is_finite() { format!("{value} {unit}") } else { "-".to_owned() };
    }
    if let Some(per_second) = per_second(unit) {
        let ns = value / per_second * 1e9;
        // Whole nanoseconds are too coarse for a few of them.
        return if ns < 9.995 { format!("{} ns", digits(ns)) } else { time(ns.round() as Nanos) };
    }
    if unit == "bytes" {
        return bytes(value.round() as u64);
    }
    let scales = [(1e9, "G "), (1e6, "M "), (1e3, "k ")];
    let scale = scales.into_iter().find(|(scale, _)| value >= *scale * 0.9995);
    let (scale, prefix) = scale.unwrap_or((1.0, ""));
    format!("{} {prefix}{unit}", digits(value / scale))
}

/// Labels of an axis on which these values of a unit stand, all with the same unit and with as many
/// decimals as tell them apart.
///
/// ```
/// use brigade_report::units::axis_labels;
/// assert_eq!(axis_labels(&[50_500.0, 51_000.0], "us"), ["50.5 ms", "51.0 ms"]);
/// ```
pub fn axis_labels(values: &[f64], unit: &str) -> Vec<String> {
    const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    const BYTES: [(f64, &str); 4] =
        [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")];
    const OTHERS: [(f64, &str); 4] = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    let (times, scales) = match per_second(unit) {
        Some(per_second) => (1e9 / per_second, TIMES),
        None if unit == "bytes" => (1.0, BYTES),
        None => (1.0, OTHERS),
    };
    let most = values.iter().map(|value| value.abs() * times).fold(0.0, f64::max);
    let (scale, name) = scales.into_iter().find(|(scale, _)| most >= *scale).unwrap_or(scales[3]);
    let steps = values.windows(2).map(|pair| (pair[1] - pair[0]).abs() * times / scale);
    let step = steps.fold(f64::INFINITY, f64::min);
    let decimals = decimals(step);
    let label = |value: &f64| format!("{:.decimals$} {name}", value * times / scale);
    values.iter().map(|value| label(value).trim_end().to_owned()).collect()
}

/// As many decimals as a step has, or one more than its first digit if it has many.
fn decimals(step: f64) -> usize {
    if !(step.is_finite() && step > 0.0) {
        return 1;
    }
    let is_whole = |decimals: &usize| {
        let steps = step * 10_f64.powi(*decimals as i32);
        steps >= 0.99 && (steps - steps.round()).abs() < 0.01 * steps
    };
    let rough = (1.0 - step.log10().floor()).clamp(0.0, 6.0) as usize;
    (0..=4).find(is_whole).unwrap_or(rough)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_at_every_border() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_996, "10.0 µs"),
            (999_499, "999 µs"),
            (999_501, "1.00 ms"),
            (119_000_000_000, "119 s"),
            (200_000_000_000, "3 min 20 s"),
        ];
        for (ns, text) in cases {
            assert_eq!(time(ns), text);
        }
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.00 KiB");
        assert_eq!(bytes(1 << 20), "1.00 MiB");
        assert_eq!(bytes(5 << 40), "5.00 TiB");
        assert_eq!(quantity(3.4, "ns"), "3.40 ns");
        assert_eq!(quantity(0.417, "us"), "417 ns");
        assert_eq!(quantity(1536.0, "bytes"), "1.50 KiB");
        assert_eq!(quantity(999.6, "instructions"), "1.00 k instructions");
        assert_eq!(
            (quantity(1.5, "ratio").as_str(), quantity(f64::NAN, "us").as_str()),
            ("1.50 ratio", "-")
        );
        assert_eq!(axis_labels(&[1024.0, 1280.0], "bytes"), ["1.00 KiB", "1.25 KiB"]);
        assert_eq!(axis_labels(&[0.0, 500.0, 1000.0], "instructions"), ["0.0 k", "0.5 k", "1.0 k"]);
        assert_eq!(axis_labels(&[7.0], "ms"), ["7.0 ms"]);
        assert_eq!(axis_labels(&[], "us"), [""; 0]);
        assert_eq!((count(1_u64, "job"), count(0_u64, "job")), ("1 job".into(), "0 jobs".into()));
    }
}
