//! Counting tokens before anything is asked, with the vocabularies that OpenAI publishes.
//!
//! Other makers' models have vocabularies of their own. Their counts differ from these by some percent, more for text that
//! is not English; replies tell the true figure (`usage`), and estimates are set right by it once there are some.

use std::fmt;

use tiktoken_rs::tokenizer::{Tokenizer as Family, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use crate::llm::chat::Message;

/// Tokens around each message, and those that open the reply: the chat format of OpenAI's models.
const PER_MESSAGE: u64 = 4;
const PER_REQUEST: u64 = 3;

/// A vocabulary. Loading it takes about 0.2 s, once in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// `cl100k_base`: GPT-4 and GPT-3.5.
    Cl100k,
    /// `o200k_base`: everything since GPT-4o, and the stand-in for models of other makers.
    O200k,
}

impl Tokenizer {
    /// The vocabulary of `model`; `o200k_base` where it is not known.
    pub fn of(model: &str) -> Self {
        match get_tokenizer(model.rsplit('/').next().unwrap_or(model)) {
            Some(Family::Cl100kBase) => Self::Cl100k,
            _ => Self::O200k,
        }
    }

    /// Whether `model` is counted with its own vocabulary, not with a stand-in.
    pub fn is_own(model: &str) -> bool {
        get_tokenizer(model.rsplit('/').next().unwrap_or(model)).is_some()
    }

    /// Number of tokens of `text`. What looks like a control token in it counts as text.
    pub fn count(self, text: &str) -> u64 {
        self.vocabulary().count_ordinary(text) as u64
    }

    /// Number of tokens that a request with these messages is charged for.
    pub fn count_request(self, messages: &[Message]) -> u64 {
        let text = messages.iter().map(|message| self.count(&message.content) + PER_MESSAGE).sum::<u64>();
        text + PER_REQUEST
    }

    fn vocabulary(self) -> &'static CoreBPE {
        match self {
            Self::Cl100k => cl100k_base_singleton(),
            Self::O200k => o200k_base_singleton(),
        }
    }
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_counts() {
        // Published examples of OpenAI's own counter.
        assert_eq!(Tokenizer::Cl100k.count("tiktoken is great!"), 6);
        assert_eq!(Tokenizer::O200k.count("tiktoken is great!"), 6);
        assert_eq!(Tokenizer::Cl100k.count("antidisestablishmentarianism"), 6);
        assert_eq!(Tokenizer::O200k.count(""), 0);
        assert!(Tokenizer::O200k.count("<|endoftext|>") > 1, "a control token in a text is text");
        let messages = [Message { role: "user".into(), content: "tiktoken is great!".into() }];
        assert_eq!(Tokenizer::O200k.count_request(&messages), 13);
    }

    #[test]
    fn the_vocabulary_goes_by_the_model() {
        for model in ["gpt-4", "gpt-4-0613", "gpt-3.5-turbo-1106", "openai/gpt-4"] {
            assert_eq!(
                (Tokenizer::of(model), Tokenizer::is_own(model)),
                (Tokenizer::Cl100k, true),
                "{model}"
            );
        }
        for model in ["gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4.1-mini", "o3", "openai/gpt-4o"] {
            assert_eq!((Tokenizer::of(model), Tokenizer::is_own(model)), (Tokenizer::O200k, true), "{model}");
        }
        for model in ["deepseek-chat", "Qwen/Qwen3-32B", "", "/"] {
            assert_eq!(
                (Tokenizer::of(model), Tokenizer::is_own(model)),
                (Tokenizer::O200k, false),
                "{model}"
            );
        }
    }

    /// Seeds and replies are hostile: none may make the counter slow.
    #[test]
    fn texts_made_to_be_slow_are_not() {
        Tokenizer::O200k.count("load");
        let started = Instant::now();
        for text in ["a", " ", "\n", "中", "!@#", "a ", "0", "\u{301}"] {
            Tokenizer::O200k.count(&text.repeat(65_536 / text.len()));
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn a_text_has_at_most_a_token_per_byte(text: String) {
            prop_assert!(Tokenizer::O200k.count(&text) <= text.len() as u64);
        }
    }
}
