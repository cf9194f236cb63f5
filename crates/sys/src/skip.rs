//! Tests that need something that not every machine has.

use std::io::Write;

/// Reports that a test is skipped because this machine lacks something. Fails the test instead if
/// the machine is known to have it, as in continuous integration: `BRIGADE_REQUIRE` names it, or
/// says `all`.
pub(crate) fn skip(what: &str, why: &str) {
    let required = std::env::var("BRIGADE_REQUIRE").unwrap_or_default();
    let is_required = required.split(' ').any(|name| [what, "all"].contains(&name));
    assert!(!is_required, "not tested, and BRIGADE_REQUIRE={required}: {why}");
    // Not `eprintln!`: the test harness shows the output of such macros for failed tests only.
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}
