//! From values to places on an axis, and the ticks of the axis.

/// An axis: linear, or logarithmic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    log: bool,
    domain: (f64, f64),
    range: (f64, f64),
}

impl Scale {
    /// Equal steps for equal differences.
    pub(crate) fn linear(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self { log: false, domain, range }
    }

    /// Equal steps for equal ratios. The domain is positive.
    pub(crate) fn log(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self { log: true, domain, range }
    }

    /// The place of a value; beyond the ends for values beyond them.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let of = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let (from, to) = (of(self.domain.0), of(self.domain.1));
        let share = if to > from { (of(value) - from) / (to - from) } else { 0.5 };
        self.range.0 + share * (self.range.1 - self.range.0)
    }

    /// The place of a value, but never beyond the ends.
    pub(crate) fn clamped(&self, value: f64) -> f64 {
        self.at(value.clamp(self.domain.0, self.domain.1))
    }

    /// Whether a value lies on the axis.
    pub(crate) fn has(&self, value: f64) -> bool {
        (self.domain.0..=self.domain.1).contains(&value)
    }

    /// From its least to its greatest value.
    pub(crate) fn domain(&self) -> (f64, f64) {
        self.domain
    }

    /// Round values on the axis, at least `gap` apart: 1, 2 and 5 times powers of ten.
    pub(crate) fn ticks(&self, gap: f64) -> Vec<f64> {
        let length = (self.range.1 - self.range.0).abs();
        let ticks = if self.log { self.log_ticks() } else { self.linear_ticks(length / gap) };
        if self.log { self.thinned(ticks, gap) } else { ticks }
    }

    fn linear_ticks(&self, most: f64) -> Vec<f64> {
        let step = round_up((self.domain.1 - self.domain.0) / most.max(1.0));
        if !(step > 0.0 && step.is_finite()) {
            return vec![self.domain.0];
        }
        let (first, last) = ((self.domain.0 / step).ceil(), (self.domain.1 / step + 1e-9).floor());
        (first as i64..=last as i64).map(|n| n as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let (from, to) = (self.domain.0.log10().floor() as i32, self.domain.1.log10() as i32 + 1);
        let factors: &[f64] = match self.domain.1 / self.domain.0 {
            ratio if ratio > 50.0 => &[1.0],
            ratio if ratio > 3.0 => &[1.0, 2.0, 5.0],
            _ => return self.linear_ticks(5.0),
        };
        let all = (from..=to).flat_map(|power| factors.iter().map(move |f| f * 10_f64.powi(power)));
        all.filter(|tick| self.has(*tick)).collect()
    }

    /// The first of these values and each that is at least `gap` from the one before;
    /// the last has precedence over its neighbour.
    pub(crate) fn thinned(&self, ticks: Vec<f64>, gap: f64) -> Vec<f64> {
        let mut kept: Vec<f64> = Vec::new();
        for tick in ticks {
            let far = |other: &f64| (self.at(tick) - self.at(*other)).abs() >= gap;
            if kept.last().is_none_or(far) {
                kept.push(tick);
            }
        }
        kept
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_up(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// From the least to the greatest of these; `None` without any.
pub(crate) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|value| value.is_finite()).fold(None, |extent, value| {
        let (least, most) = extent.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    })
}

/// A logarithmic domain around positive values, with some room at both ends.
pub(crate) fn log_domain(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let (least, most) = extent(values.into_iter().filter(|value| *value > 0.0))?;
    let room = (most / least).powf(0.04).max(1.1);
    Some((least / room, most * room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let log = Scale::log((1.0, 1000.0), (0.0, 300.0));
        assert!((log.at(10.0) - 100.0).abs() < 1e-9 && log.at(1e4) > 300.0);
        assert!((log.clamped(1e4) - 300.0).abs() < 1e-9);
        let linear = Scale::linear((0.0, 4.0), (100.0, 0.0));
        assert!((linear.at(1.0) - 75.0).abs() < 1e-9);
        assert!(Scale::linear((2.0, 2.0), (0.0, 10.0)).at(2.0).is_finite());
    }

    #[test]
    fn ticks_are_round_and_not_too_close() {
        assert_eq!(Scale::linear((0.0, 8.0), (0.0, 400.0)).ticks(90.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        let log = Scale::log((0.5, 2000.0), (0.0, 400.0));
        assert_eq!(log.ticks(40.0), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(Scale::log((0.9, 6.0), (0.0, 400.0)).ticks(40.0), [1.0, 2.0, 5.0]);
        assert_eq!(log.ticks(150.0), [1.0, 100.0]);
    }

    #[test]
    fn extents() {
        assert_eq!(extent([3.0, f64::NAN, 1.0]), Some((1.0, 3.0)));
        assert_eq!(extent([]), None);
        assert_eq!(log_domain([0.0]), None);
    }
}
