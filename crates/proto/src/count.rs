/// A number and its noun, in the singular or with an appended `s`: `1 job`, `2 jobs`.
///
/// ```
/// assert_eq!(brigade_proto::count(1_u64, "job"), "1 job");
/// assert_eq!(brigade_proto::count(0_u64, "job"), "0 jobs");
/// ```
pub fn count(n: impl Into<Number>, one: &str) -> String {
    let Number(n) = n.into();
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// A count for [`count`], from a `u32`, `u64` or `usize`.
pub struct Number(u64);

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self(n)
    }
}

impl From<u32> for Number {
    fn from(n: u32) -> Self {
        Self(n.into())
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Self {
        Self(n as u64)
    }
}
