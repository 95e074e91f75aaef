//! Prompts and replies: fenced blocks, tagged sections, JSON, templates; wrong programs made of right ones. No effects but
//! reading template files.

pub mod blocks;
pub mod extract;
pub mod json_reply;
pub mod json_schema;
pub mod mutate;
pub mod tags;
pub mod template;
pub mod thinking;
