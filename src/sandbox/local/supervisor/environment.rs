//! The environment of a job's commands, and what of it varies on purpose.

use std::collections::BTreeMap;

use super::super::jail::{PATH, WORK, WORK_ELSEWHERE};
use super::super::template::USER;
use crate::sandbox::language::Language;
use crate::sandbox::toolchain::{Toolchain, expand};

/// Whether runs of this variation have the other host name and work path.
pub(super) fn is_elsewhere(variation: u32) -> bool {
    variation % 2 == 1
}

/// The environment of a language's commands in the surroundings `variation`; see [`crate::sandbox::job::Job::variation`].
pub(super) fn environment(
    language: &Language,
    toolchain: &Toolchain,
    variation: u32,
) -> Vec<(String, String)> {
    // A time zone east of all others, and one west of them: another time of day, often another day.
    let time_zone = ["UTC", "<+14>-14", "<-12>12"][variation as usize % 3];
    let mut path: Vec<_> = toolchain.path.iter().map(|folder| folder.display().to_string()).collect();
    path.push(PATH.to_owned());
    let mut env: BTreeMap<String, String> = [
        ("PATH", path.join(":").as_str()),
        ("HOME", if is_elsewhere(variation) { WORK_ELSEWHERE } else { WORK }),
        ("USER", USER),
        ("LOGNAME", USER),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
        ("TZ", time_zone),
        ("TMPDIR", "/tmp"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let expanded = |(name, value): (&String, &String)| (name.clone(), toolchain.expand_text(value, ""));
    env.extend(language.env.iter().map(expanded));
    if variation > 0 {
        let number = variation.to_string();
        let value = |name: &str| (name == "n").then_some(number.as_str());
        env.extend(language.vary.iter().map(|(name, text)| (name.clone(), expand(text, value))));
    }
    env.into_iter().collect()
}
