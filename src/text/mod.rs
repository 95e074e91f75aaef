//! Prompts and replies: fenced blocks, tagged sections, templates. No effects but reading template files.

pub mod blocks;
pub mod extract;
pub mod tags;
pub mod template;
