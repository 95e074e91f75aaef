//! Prompts and replies: fenced blocks, tagged sections, JSON, templates. No effects but reading template files.

pub mod blocks;
pub mod equivalent;
pub mod extract;
pub mod json_reply;
pub mod json_schema;
pub mod tags;
pub mod template;
pub mod thinking;
