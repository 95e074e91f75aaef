//! Reasoning that a model writes into its reply, told from the reply proper.

use serde::{Deserialize, Serialize};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// How replies mark their reasoning, where the endpoint does not hand it out apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// A reply that begins with `<think>` reasons up to `</think>`, or to its end where that is missing. Any other is left
    /// as it is.
    #[default]
    Tagged,
    /// The same; and where the chat template opens the tag, so that the reply does not: everything up to the first
    /// `</think>`.
    Closed,
    /// Replies are left as they are.
    Kept,
}

/// The reasoning in `reply`, empty when there is none, and the rest. White space around either is left out where the
/// reply was split.
pub fn split(reply: &str, thinking: Thinking) -> (&str, &str) {
    let opened = reply.trim_start().strip_prefix(OPEN);
    match (thinking, opened) {
        (Thinking::Kept, _) | (Thinking::Tagged, None) => ("", reply),
        (_, Some(rest)) => {
            let (reasoning, output) = rest.split_once(CLOSE).unwrap_or((rest, ""));
            (reasoning.trim(), output.trim())
        }
        (Thinking::Closed, None) => match reply.split_once(CLOSE) {
            Some((reasoning, output)) => (reasoning.trim(), output.trim()),
            None => ("", reply),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_split_off_only_where_it_is_marked() {
        use Thinking::{Closed, Kept, Tagged};
        let cases = [
            ("\n<think>\nhm\n</think>\n\nyes", ["hm", "yes"], ["hm", "yes"]),
            ("<think></think>yes </think>", ["", "yes </think>"], ["", "yes </think>"]),
            ("<think>cut off", ["cut off", ""], ["cut off", ""]),
            ("hm</think> yes", ["", "hm</think> yes"], ["hm", "yes"]),
            (" say <think>x</think>", ["", " say <think>x</think>"], ["say <think>x", ""]),
            (" plain ", ["", " plain "], ["", " plain "]),
        ];
        for (reply, tagged, closed) in cases {
            assert_eq!(<[&str; 2]>::from(split(reply, Tagged)), tagged);
            assert_eq!(<[&str; 2]>::from(split(reply, Closed)), closed);
            assert_eq!(split(reply, Kept), ("", reply));
        }
    }
}
