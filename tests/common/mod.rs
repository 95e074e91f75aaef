//! What several test files share.

/// Says on stderr that a test did not run, and why. With `AUTOCODEGEN_REQUIRE=1` that is a failure.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("AUTOCODEGEN_REQUIRE").is_none_or(|value| value != "1"),
        "SKIPPED: {test}: {why}"
    );
    eprintln!("SKIPPED: {test}: {why}");
}
