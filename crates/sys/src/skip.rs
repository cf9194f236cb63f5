//! Tests that need something which not every machine has.

use std::io::Write;

/// Says that a test cannot be done on this machine, as it lacks something. That is a failure where
/// the machine is known to have that, as in the continuous integration: `BRIGADE_REQUIRE` names
/// it, or says `all`.
pub(crate) fn skip(what: &str, why: &str) {
    let required = std::env::var("BRIGADE_REQUIRE").unwrap_or_default();
    let is_required = required.split(' ').any(|name| [what, "all"].contains(&name));
    assert!(!is_required, "not tested, and BRIGADE_REQUIRE={required}: {why}");
    // Not a macro: the harness shows what those print of red tests only.
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}
