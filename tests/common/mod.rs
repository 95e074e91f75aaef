//! What several test programs share.

/// Says loudly that a test cannot run here; a failure where `AUTOCODEGEN_REQUIRE=1` says that everything must run.
pub fn skip(name: &str, why: &str) {
    assert!(
        std::env::var_os("AUTOCODEGEN_REQUIRE").is_none_or(|value| value != "1"),
        "{name} must run: {why}"
    );
    eprintln!("SKIPPED: {name}: {why}");
}
