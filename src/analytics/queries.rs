//! The questions that are built in: `queries/*.sql`. The first line of each, a comment, says what it answers.

use rust_embed::RustEmbed;

use crate::error::{Error, Result};

#[derive(RustEmbed)]
#[folder = "queries/"]
#[include = "*.sql"]
struct Embedded;

/// A built-in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Name: that of its file without `.sql`.
    pub name: String,
    /// What it answers, in one line.
    pub about: String,
    /// The question.
    pub sql: String,
}

/// All built-in questions, by name.
pub fn all() -> Vec<Query> {
    let mut queries: Vec<Query> = Embedded::iter()
        .filter_map(|file| {
            let sql = String::from_utf8(Embedded::get(&file)?.data.into_owned()).ok()?;
            let about = sql.lines().next().unwrap_or_default().trim_start_matches('-').trim().to_owned();
            Some(Query { name: file.trim_end_matches(".sql").to_owned(), about, sql })
        })
        .collect();
    queries.sort_by(|one, other| one.name.cmp(&other.name));
    queries
}

/// The built-in question called `name`.
///
/// # Errors
/// There is none; the hint lists those there are.
pub fn find(name: &str) -> Result<Query> {
    let queries = all();
    let names: Vec<String> = queries.iter().map(|query| query.name.clone()).collect();
    queries.into_iter().find(|query| query.name == name).ok_or_else(|| {
        Error::usage(format!("there is no query called `{name}`")).hint(format!(
            "queries are {}; one of your own is given as a path ending in .sql, or with --sql",
            names.join(", ")
        ))
    })
}
