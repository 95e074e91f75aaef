//! What to do with a reply by the reason the model gave for stopping.

use serde::{Deserialize, Serialize};

use crate::llm::chat::{REQUEST_REFUSED, Reply, Sampling};

/// Ways of stopping that mean the reply is whole. Endpoints that report none (an empty reason) are believed.
const WHOLE: [&str; 3] = ["stop", "end_turn", ""];
const LENGTH: &str = "length";
const CONTENT_FILTER: &str = "content_filter";
const REFUSAL: &str = "refusal";

/// Finish reasons that rows are counted by. Others are `other`: an endpoint may make up a new one for every reply.
const COUNTED: [&str; 6] =
    [LENGTH, CONTENT_FILTER, "tool_calls", "function_call", "insufficient_system_resource", "error"];

/// Most characters of a refusal to tell.
const TOLD: usize = 300;

/// What becomes of a reply that is cut by the token limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnLength {
    /// Its row is rejected.
    #[default]
    Reject,
    /// It is taken as it is.
    Keep,
    /// It is asked for once more, with more tokens; cut again, its row is rejected.
    Retry,
}

/// What becomes of a reply that is filtered, or that is a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnProblem {
    /// Its row is rejected.
    #[default]
    Reject,
    /// It is taken as it is.
    Keep,
}

/// The policy of a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Policy {
    pub length: OnLength,
    pub content_filter: OnProblem,
    pub refusal: OnProblem,
    /// Tokens of the second try, more than those of the first.
    pub retry_max_tokens: Option<u32>,
}

impl Policy {
    /// Why `reply` cannot be taken: a reason to count by, and what exactly, for people.
    pub fn problem(&self, reply: &Reply) -> Option<(String, String)> {
        let finish = reply.finish_reason.as_str();
        let kept = match finish {
            LENGTH => self.length == OnLength::Keep,
            CONTENT_FILTER => self.content_filter == OnProblem::Keep,
            REFUSAL => self.refusal == OnProblem::Keep,
            _ => WHOLE.contains(&finish),
        };
        if kept {
            return None;
        }
        if finish == REQUEST_REFUSED {
            return Some((REQUEST_REFUSED.to_owned(), reply.output.clone()));
        }
        if finish == REFUSAL {
            let words: String = reply.output.trim().chars().take(TOLD).collect();
            return Some((REFUSAL.to_owned(), format!("the model refuses: {words}")));
        }
        let detail = match finish {
            LENGTH => {
                format!("the reply was cut by the token limit after {} tokens", reply.completion_tokens)
            }
            CONTENT_FILTER => "the endpoint's content filter cut the reply".to_owned(),
            other => format!("the model stopped because of `{}`", code(other)),
        };
        Some((format!("finish_reason_{}", reason(finish)), detail))
    }

    /// The sampling to ask for `reply` again with, if it is to be; `sampling` gave it.
    pub fn longer(&self, reply: &Reply, sampling: &Sampling) -> Option<Sampling> {
        if self.length != OnLength::Retry || reply.finish_reason != LENGTH {
            return None;
        }
        let tokens = self.retry_max_tokens?;
        let mut longer = sampling.clone();
        // Extra fields go over the settings of the same meaning.
        let names = ["max_tokens", "max_completion_tokens"];
        let extra = names
            .into_iter()
            .filter_map(|name| longer.extra.get_mut(name).map(|field| *field = tokens.into()));
        if extra.count() == 0 {
            longer.max_tokens = Some(tokens);
        }
        Some(longer)
    }
}

/// The finish reason of a reply for a column: printable, and not long.
pub(super) fn code(reason: &str) -> String {
    reason.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

fn reason(reported: &str) -> &'static str {
    COUNTED.into_iter().find(|known| *known == reported).unwrap_or("other")
}
