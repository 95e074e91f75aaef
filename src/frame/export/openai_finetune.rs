//! `openai-finetune`: the file that OpenAI's fine-tuning takes: one object with `messages` a line.

use super::{Container, Format, trl_sft};

pub(super) static FORMAT: Format = Format {
    name: "openai-finetune",
    about: "The same as the JSON lines that OpenAI's fine-tuning takes",
    container: Container::Lines,
    ..trl_sft::FORMAT
};
