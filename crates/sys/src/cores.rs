//! Cores that this process may use.
#![allow(missing_docs)]
pub struct C {
    pub usable: usize,
}
pub fn usable() -> C {
    C {
        usable: std::thread::available_parallelism().map_or(1, |n| n.get()),
    }
}
