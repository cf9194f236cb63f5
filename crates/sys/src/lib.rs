//! Brigade's platform layer: the only crate with unsafe code.
