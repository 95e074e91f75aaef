//! Blocks and sections of a whole column of replies, on all cores.

use std::borrow::Cow;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, StringArray};
use rayon::prelude::*;

use super::blocks::{self, Block};
use super::tags;
use crate::error::{Error, Result};

/// Rows one thread takes at a time: enough to make splitting cheap, few enough to keep all cores busy.
const ROWS_AT_ONCE: usize = 256;

/// Info strings and blocks named in a [`Misfit`]: a reply of thousands of blocks is not worth listing.
const NAMED: usize = 8;

/// Why a reply does not hold what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// A short stable name for counting: `no_reply`, `block_count`, `block_unclosed`, `section_missing`, ...
    pub reason: &'static str,
    /// What was found, for people.
    pub detail: String,
}

/// Parts extracted from a column of replies.
#[derive(Debug)]
pub struct Extracted {
    /// One column per part wanted, each as long as the column of replies; null where the row is a misfit.
    pub columns: Vec<StringArray>,
    /// Per row, why nothing was extracted from it.
    pub misfits: Vec<Option<Misfit>>,
}

/// The blocks of every reply that has exactly `wanted` of them, all closed.
///
/// # Errors
/// Per row: a null reply is `no_reply`, a missing closing fence `block_unclosed`, another number of blocks
/// `block_count`.
pub fn extract_blocks(column: &StringArray, wanted: usize) -> Vec<Result<Vec<Block<'_>>, Misfit>> {
    let row = |row| {
        let mut found = Vec::with_capacity(wanted);
        read_blocks(reply(column, row)?, wanted, &mut found).map(|()| found)
    };
    (0..column.len()).into_par_iter().with_min_len(ROWS_AT_ONCE).map(row).collect()
}

/// What a column gets of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The code alone.
    Body,
    /// The block as it stands in the reply, fences included.
    Fenced,
}

/// The blocks of every reply that has exactly as many as there are `parts`, one column each.
///
/// Misfits are those of [`extract_blocks`].
///
/// # Errors
/// The columns cannot be put together.
pub fn block_columns(column: &StringArray, parts: &[Part]) -> Result<Extracted> {
    in_chunks(column, parts.len(), |rows, chunk| {
        let mut found = Vec::with_capacity(parts.len());
        for row in rows {
            found.clear();
            let read = reply(column, row).and_then(|text| read_blocks(text, parts.len(), &mut found));
            let texts = found.iter().zip(parts).map(|(block, part)| match part {
                Part::Body => block.body.as_ref(),
                Part::Fenced => block.raw,
            });
            chunk.push(read.map(|()| texts));
        }
    })
}

/// The contents of the first complete section `<tag> ... </tag>` of every reply, as one column.
///
/// Misfits are `no_reply` for a null reply and those of [`tags::SectionError`].
///
/// # Errors
/// The column cannot be put together.
pub fn section_column(column: &StringArray, tag: &str) -> Result<Extracted> {
    in_chunks(column, 1, |rows, chunk| {
        for row in rows {
            let read = reply(column, row).and_then(|text| {
                tags::section(text, tag)
                    .map_err(|error| Misfit { reason: error.reason(), detail: format!("<{tag}>: {error}") })
            });
            chunk.push(read.map(std::iter::once));
        }
    })
}

/// What of a section goes into a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionPart {
    /// Its text as it is.
    Text,
    /// The contents of its one fenced block; its text where there is none.
    Code,
    /// Its one fenced block with the fences; its text, put between some, where there is none.
    Fenced,
}

/// The sections of every reply that `wanted` names, each once, as columns in that order.
///
/// Misfits are `no_reply` for a null reply, those of [`tags::sections`], and `block_count`, `block_unclosed` for a section of
/// code with several fenced blocks or one that is not closed.
///
/// # Errors
/// The columns cannot be put together.
pub fn sections_columns(column: &StringArray, wanted: &[(&str, SectionPart)]) -> Result<Extracted> {
    let tags: Vec<&str> = wanted.iter().map(|(tag, _)| *tag).collect();
    in_chunks(column, wanted.len(), |rows, chunk| {
        for row in rows {
            let read = reply(column, row).and_then(|text| {
                let sections = tags::sections(text, &tags).map_err(|(tag, error)| Misfit {
                    reason: error.reason(),
                    detail: format!("<{tag}>: {error}"),
                })?;
                let parts = sections.into_iter().zip(wanted);
                parts
                    .map(|(section, (tag, part))| section_part(section, tag, *part))
                    .collect::<Result<Vec<_>, _>>()
            });
            let texts = read.as_ref().map(|parts| parts.iter().map(AsRef::as_ref)).map_err(Misfit::clone);
            chunk.push(texts);
        }
    })
}

fn section_part<'a>(section: &'a str, tag: &str, part: SectionPart) -> Result<Cow<'a, str>, Misfit> {
    if part == SectionPart::Text {
        return Ok(section.into());
    }
    let mut found = Vec::with_capacity(1);
    let bare = blocks::blocks(section).next().is_none();
    if !bare {
        read_blocks(section, 1, &mut found)
            .map_err(|misfit| Misfit { detail: format!("<{tag}>: {}", misfit.detail), ..misfit })?;
    }
    let empty = || Misfit { reason: "section_empty", detail: format!("<{tag}>: the fenced block is empty") };
    match found.pop() {
        None if part == SectionPart::Fenced => Ok(blocks::render("", section).into()),
        None => Ok(section.into()),
        Some(block) if block.body.trim().is_empty() => Err(empty()),
        Some(block) if part == SectionPart::Fenced => Ok(block.raw.into()),
        Some(block) => Ok(block.body),
    }
}

fn reply(column: &StringArray, row: usize) -> Result<&str, Misfit> {
    if column.is_null(row) {
        return Err(Misfit { reason: "no_reply", detail: "there is no reply".into() });
    }
    Ok(column.value(row))
}

/// Puts the blocks of `text` into the empty `found`, if there are `wanted` and all are closed.
fn read_blocks<'a>(text: &'a str, wanted: usize, found: &mut Vec<Block<'a>>) -> Result<(), Misfit> {
    // Blocks past the wanted number are counted and, up to a few, named, but never collected.
    let mut blocks = blocks::blocks(text);
    found.extend(blocks.by_ref().take(wanted.saturating_add(NAMED)));
    let more = blocks.fold((0, false), |(count, _), block| (count + 1, !block.closed));
    let unclosed = more.1 || found.last().is_some_and(|block| !block.closed);
    let count = found.len() + more.0;
    if count == wanted && !unclosed {
        return Ok(());
    }
    let infos: Vec<_> = found.iter().take(wanted.max(NAMED)).map(name).collect();
    let dots = if count > infos.len() { ", ..." } else { "" };
    let listed = if infos.is_empty() { String::new() } else { format!(" ({}{dots})", infos.join(", ")) };
    let plural = if count == 1 { "" } else { "s" };
    let (reason, tail) = if unclosed {
        ("block_unclosed", "; the last one has no closing fence")
    } else {
        ("block_count", "")
    };
    Err(Misfit {
        reason,
        detail: format!("{count} fenced block{plural} found{listed}, {wanted} wanted{tail}"),
    })
}

/// A block's info string as it stands in a detail: at most 40 characters.
fn name(block: &Block<'_>) -> String {
    if block.info.is_empty() {
        return "no info string".into();
    }
    block.info.chars().take(40).collect()
}

/// Columns of consecutive rows under construction.
struct Chunk {
    builders: Vec<StringBuilder>,
    misfits: Vec<Option<Misfit>>,
}

impl Chunk {
    /// Appends one row: its parts in the order of the columns, or why there are none.
    fn push<'a>(&mut self, parts: Result<impl Iterator<Item = &'a str>, Misfit>) {
        match parts {
            Ok(parts) => {
                self.builders.iter_mut().zip(parts).for_each(|(builder, part)| builder.append_value(part));
                self.misfits.push(None);
            }
            Err(misfit) => {
                self.builders.iter_mut().for_each(StringBuilder::append_null);
                self.misfits.push(Some(misfit));
            }
        }
    }
}

/// Runs `fill` over runs of rows of `column` on all cores and puts the chunks together in order.
fn in_chunks(
    column: &StringArray,
    parts: usize,
    fill: impl Fn(std::ops::Range<usize>, &mut Chunk) + Sync,
) -> Result<Extracted> {
    let rows = column.len();
    let chunks: Vec<Chunk> = (0..rows.div_ceil(ROWS_AT_ONCE))
        .into_par_iter()
        .map(|index| {
            let rows = index * ROWS_AT_ONCE..rows.min((index + 1) * ROWS_AT_ONCE);
            // The parts cannot be longer than the replies; each is taken to have an equal share at first.
            let offsets = column.value_offsets();
            let bytes = (offsets[rows.end] - offsets[rows.start]) as usize / parts.max(1);
            let builders = (0..parts).map(|_| StringBuilder::with_capacity(rows.len(), bytes)).collect();
            let mut chunk = Chunk { builders, misfits: Vec::with_capacity(rows.len()) };
            fill(rows, &mut chunk);
            chunk
        })
        .collect();
    let mut pieces: Vec<Vec<ArrayRef>> = (0..parts).map(|_| Vec::with_capacity(chunks.len())).collect();
    let mut misfits = Vec::with_capacity(rows);
    for mut chunk in chunks {
        for (pieces, builder) in pieces.iter_mut().zip(&mut chunk.builders) {
            pieces.push(std::sync::Arc::new(builder.finish()));
        }
        misfits.append(&mut chunk.misfits);
    }
    let columns = pieces.iter().map(|pieces| joined(pieces)).collect::<Result<_>>()?;
    Ok(Extracted { columns, misfits })
}

fn joined(pieces: &[ArrayRef]) -> Result<StringArray> {
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    if pieces.is_empty() {
        return Ok(StringArray::new_null(0));
    }
    let column = arrow_select::concat::concat(&pieces)
        .map_err(|error| Error::usage(format!("cannot put the extracted column together: {error}")))?;
    Ok(arrow_array::cast::AsArray::as_string::<i32>(&column).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_wanted_number_of_blocks_is_taken() {
        let one = "a\n```py\n1\n```\n";
        let two = "```py\n1\n```\n  ```\n  2\n  ```";
        let column = StringArray::from(vec![Some(two), Some(one), None, Some("```py\n1\n```\n```\n2")]);
        let extracted = block_columns(&column, &[Part::Body; 2]).unwrap();
        let values = |at: usize| extracted.columns[at].iter().collect::<Vec<_>>();
        assert_eq!(values(0), [Some("1"), None, None, None]);
        assert_eq!(values(1), [Some("2"), None, None, None]);
        let misfits: Vec<_> = extracted.misfits.iter().flatten().map(|m| (m.reason, &*m.detail)).collect();
        let last = "2 fenced blocks found (py, no info string), 2 wanted; the last one has no closing fence";
        assert_eq!(
            misfits,
            [
                ("block_count", "1 fenced block found (py), 2 wanted"),
                ("no_reply", "there is no reply"),
                ("block_unclosed", last),
            ]
        );
        assert!(extracted.misfits[0].is_none());
    }

    #[test]
    fn a_reply_of_very_many_blocks_is_named_in_short() {
        let reply = format!("{}```\nx", "```python\n```\n".repeat(100_000));
        let column = StringArray::from(vec![reply.as_str()]);
        let misfit = extract_blocks(&column, 3).remove(0).unwrap_err();
        assert_eq!(misfit.reason, "block_unclosed");
        assert!(misfit.detail.starts_with("100001 fenced blocks found (python, python"));
        assert!(misfit.detail.len() < 200, "{}", misfit.detail);
    }

    #[test]
    fn columns_longer_than_a_chunk_keep_their_order() {
        let replies: Vec<String> = (0..1000)
            .map(|n| if n % 7 == 0 { "nothing".into() } else { blocks::render("x", &n.to_string()) })
            .collect();
        let column = StringArray::from(replies);
        let extracted = block_columns(&column, &[Part::Body]).unwrap();
        for (n, value) in extracted.columns[0].iter().enumerate() {
            let expected = (n % 7 != 0).then(|| n.to_string());
            assert_eq!(value, expected.as_deref());
            assert_eq!(extracted.misfits[n].is_some(), n % 7 == 0);
        }
        assert_eq!(block_columns(&StringArray::new_null(0), &[Part::Body; 3]).unwrap().columns.len(), 3);
    }

    #[test]
    fn sections_become_columns_of_text_and_code() {
        let wanted = [("q", SectionPart::Text), ("s", SectionPart::Fenced), ("t", SectionPart::Code)];
        let column = StringArray::from(vec![
            "<q>\n```\na\n```\n</q><s>Here:\n```py\nx\n```\n</s>\n<t>\n```py\ny\n```\n</t>",
            "<q>a</q><s>x</s><t>y</t>",
            "<q>a</q><s>x</s><t>\n```\n1\n```\n```\n2\n```\n</t>",
            "<q>a</q><s>x</s><t>\n```\n \n```\n</t>",
            "<q>a</q><s>x</s>",
        ]);
        let extracted = sections_columns(&column, &wanted).unwrap();
        let row = |row| [0, 1, 2].map(|at: usize| extracted.columns[at].value(row));
        assert_eq!(row(0), ["```\na\n```", "```py\nx\n```", "y"]);
        assert_eq!(row(1), ["a", "```\nx\n```", "y"]);
        let misfits: Vec<_> =
            extracted.misfits.iter().flatten().map(|misfit| (misfit.reason, &*misfit.detail)).collect();
        assert_eq!(
            misfits,
            [
                ("block_count", "<t>: 2 fenced blocks found (no info string, no info string), 1 wanted"),
                ("section_empty", "<t>: the fenced block is empty"),
                ("section_missing", "<t>: there is no opening tag"),
            ]
        );
    }

    #[test]
    fn sections_become_a_column() {
        let column = StringArray::from(vec![Some("<q> a </q>"), Some("a"), None]);
        let extracted = section_column(&column, "q").unwrap();
        assert_eq!(extracted.columns[0].iter().collect::<Vec<_>>(), [Some("a"), None, None]);
        let reasons: Vec<_> = extracted.misfits.iter().flatten().map(|misfit| misfit.reason).collect();
        assert_eq!(reasons, ["section_missing", "no_reply"]);
    }
}
