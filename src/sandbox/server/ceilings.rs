//! The most that a caller may ask for, so that no request takes the machine.

use crate::sandbox::job::{LimitOverrides, Limits};
use crate::sandbox::language::Language;

const MIB: u64 = 1 << 20;

/// The largest limits of a job. What a language's own file says counts where it is larger, but for time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceilings {
    /// CPU time without the language's extra seconds, ms.
    pub cpu_ms: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

impl Ceilings {
    /// What `asked` comes to for a program of `language`.
    pub(super) fn over(&self, language: &Language, asked: LimitOverrides) -> LimitOverrides {
        // Whichever of its runtimes is installed.
        let own = |of: fn(&Limits) -> u64| {
            let limits =
                language.runtimes().map(|runtime| of(&runtime.limits_for(&LimitOverrides::default())));
            limits.max().unwrap_or(0)
        };
        let extra_ms = language.runtimes().map(|runtime| runtime.extra_seconds * 1000).max().unwrap_or(0);
        let longest_ms = self.cpu_ms.saturating_add(extra_ms);
        LimitOverrides {
            cpu_ms: at_most(self.cpu_ms, asked.cpu_ms, own(|limits| limits.cpu_ms).saturating_sub(extra_ms)),
            wall_ms: asked.wall_ms.map(|wall| wall.min(longest_ms.saturating_mul(2).saturating_add(1000))),
            memory_bytes: at_most(self.memory_bytes, asked.memory_bytes, own(|limits| limits.memory_bytes)),
            pids: asked.pids.map(|pids| pids.min(own(|limits| limits.pids).max(1024))),
            output_bytes: asked.output_bytes.map(|bytes| bytes.min(own(|limits| limits.output_bytes))),
            file_bytes: asked
                .file_bytes
                .map(|bytes| bytes.min(own(|limits| limits.file_bytes).max(1024 * MIB))),
        }
    }
}

/// What `asked` comes to; where nothing is asked and a language's `own` limit is too large, that is overridden.
fn at_most(ceiling: u64, asked: Option<u64>, own: u64) -> Option<u64> {
    match asked {
        Some(asked) => Some(asked.min(ceiling)),
        None => (own > ceiling).then_some(ceiling),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::language::Languages;

    const CEILINGS: Ceilings = Ceilings { cpu_ms: 60_000, memory_bytes: 512 * MIB };

    #[test]
    fn nobody_gets_more_than_the_ceilings() {
        let languages = Languages::embedded().unwrap();
        let greedy = LimitOverrides {
            cpu_ms: Some(u64::MAX),
            wall_ms: Some(u64::MAX),
            memory_bytes: Some(u64::MAX),
            pids: Some(u64::MAX),
            output_bytes: Some(u64::MAX),
            file_bytes: Some(u64::MAX),
        };
        for language in languages.iter() {
            let limits = language.limits_for(&CEILINGS.over(language, greedy));
            assert_eq!(limits.cpu_ms, 60_000 + language.extra_seconds * 1000);
            assert_eq!(limits.memory_bytes, 512 * MIB);
            assert!(limits.wall_ms <= 2 * limits.cpu_ms + 1000, "{}", language.name);
            let own = language.limits_for(&LimitOverrides::default());
            assert!(limits.pids <= own.pids.max(1024) && limits.output_bytes == own.output_bytes);
            assert!(limits.file_bytes <= own.file_bytes.max(1024 * MIB));
        }
    }

    #[test]
    fn what_is_below_the_ceilings_stays() {
        let languages = Languages::embedded().unwrap();
        let modest = LimitOverrides {
            cpu_ms: Some(1000),
            wall_ms: Some(1500),
            memory_bytes: Some(64 * MIB),
            pids: Some(8),
            output_bytes: Some(1000),
            file_bytes: Some(2000),
        };
        for language in languages.iter() {
            assert_eq!(CEILINGS.over(language, modest), modest);
        }
        let cpp = languages.get("cpp").unwrap();
        let roomy = Ceilings { memory_bytes: u64::MAX, ..CEILINGS };
        assert_eq!(roomy.over(cpp, LimitOverrides::default()), LimitOverrides::default());
        let tight = Ceilings { cpu_ms: 100, memory_bytes: 64 * MIB };
        let limits = cpp.limits_for(&tight.over(cpp, LimitOverrides::default()));
        assert_eq!((limits.cpu_ms, limits.memory_bytes), (100 + cpp.extra_seconds * 1000, 64 * MIB));
    }
}
