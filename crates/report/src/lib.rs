//! Brigade's output formats.
