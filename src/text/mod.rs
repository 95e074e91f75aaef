//! Prompts and replies: fenced blocks, tagged sections, JSON, templates; wrong programs made of right ones. No effects but
//! reading template files.

pub mod answer;
pub mod blocks;
pub mod equivalent;
pub mod extract;
pub mod json_reply;
pub mod json_schema;
pub mod minhash;
pub mod mutate;
pub mod ngrams;
pub mod quote;
pub mod shingles;
pub mod tags;
pub mod template;
pub mod thinking;
