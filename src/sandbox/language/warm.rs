//! Files prepared ahead of all jobs of a language.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Where jobs find the prepared files of their language.
pub const WARM_DIRECTORY: &str = "/warm";

/// Files prepared once per toolchain, inside a jail, that jobs then find at [`WARM_DIRECTORY`]: a compiler's cache,
/// precompiled headers, support classes. In commands `{warm}` names the folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warm {
    /// Files put into the work folder before the commands run, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Further such files, which languages share: paths below `data/languages/support`, put there by their last name.
    #[serde(default)]
    pub support: Vec<String>,
    /// The commands, run in the work folder one after the other; what they leave in `{warm}` is kept.
    pub commands: Vec<Vec<String>>,
    /// Whether jobs see the folder writable, each through a private layer that vanishes with the job. Otherwise it is
    /// read-only, which is quicker.
    #[serde(default)]
    pub layered: bool,
}
