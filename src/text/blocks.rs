//! Fenced code blocks in Markdown text.
//!
//! The rules are CommonMark's for fences, with two differences that model replies call for:
//!
//! - A fence may be indented by any amount, not only by up to three spaces: replies put blocks into list items.
//!   The opening fence's indentation is removed from the lines of the block.
//!   A closing fence may be indented by at most three characters more than its opening fence.
//! - Only `\n` ends a line. A `\r` before it belongs to the line end of a fence, and otherwise to the body.
//!
//! A block whose closing fence is missing runs to the end of the text and is yielded with `closed == false`,
//! so that a caller can tell a reply that was cut off from one that holds the wrong number of blocks.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// The fewest characters that make a fence.
const FENCE: usize = 3;

/// How much further than its opening fence a closing fence may be indented, in characters.
const CLOSING_SLACK: usize = 3;

/// One fenced code block of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// What follows the opening fence, trimmed: `python`, `c++`, `python3 title=x`, or nothing.
    pub info: &'a str,
    /// The lines between the fences, without the line end before the closing fence. Borrowed unless the
    /// block is indented.
    pub body: Cow<'a, str>,
    /// Whether the closing fence is there.
    pub closed: bool,
    /// The block as it stands in the text: fences and indentation included, without the last line end.
    pub raw: &'a str,
}

/// The fenced code blocks of `text`, in order.
pub fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    spans(text).map(move |span| {
        let content = without_line_end(&text[span.content]);
        Block {
            info: text[span.info].trim(),
            body: without_indentation(content, &text[span.indentation]),
            closed: span.closed,
            raw: &text[span.raw],
        }
    })
}

/// `body` as a fenced block with a fence longer than any run of fence characters in it.
///
/// `info` is one line; of several only the first is used. [`blocks`] of the result gives both back.
pub fn render(info: &str, body: &str) -> String {
    let info = info.lines().next().unwrap_or_default().trim();
    // The info string of a backtick fence cannot hold a backtick; and it cannot begin with a fence character.
    let fence = if info.contains('`') { '~' } else { '`' };
    let length = (longest_run(body, fence as u8) + 1).max(FENCE);
    let fence = String::from(fence).repeat(length);
    let gap = if info.starts_with('~') { " " } else { "" };
    // After a body that ends in `\r`, a bare `\n` would make that `\r` part of the line end.
    let line_end = if body.ends_with('\r') { "\r\n" } else { "\n" };
    format!("{fence}{gap}{info}{line_end}{body}{line_end}{fence}")
}

/// The body of the first block that is not blank, if `text` begins with a fence; otherwise `text` itself.
///
/// Records of the reference system keep code inside its fence. Code that merely contains fences, in a
/// documentation comment for instance, is left alone.
pub fn unfence(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with("```") && !text.trim_start().starts_with("~~~") {
        return Cow::Borrowed(text);
    }
    blocks(text).map(|block| block.body).find(|body| !body.trim().is_empty()).unwrap_or(Cow::Borrowed(text))
}

/// Byte ranges of one block.
pub(super) struct Span {
    /// What follows the opening fence on its line.
    info: Range<usize>,
    /// What precedes the opening fence on its line.
    indentation: Range<usize>,
    /// The lines between the fences, the last line end included.
    content: Range<usize>,
    /// From the opening fence's line to the closing fence, or to the end of the text.
    pub(super) raw: Range<usize>,
    /// Whether there is a closing fence.
    pub(super) closed: bool,
}

/// Where the blocks of `text` are.
pub(super) fn spans(text: &str) -> impl Iterator<Item = Span> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (span, next) = next_span(text, from)?;
        from = next;
        Some(span)
    })
}

/// The first block at or after the line start `from`, and where to look for the next.
fn next_span(text: &str, from: usize) -> Option<(Span, usize)> {
    let opening = fences(text, from, None).find(|fence| fence.can_open(text))?;
    let info = opening.info();
    let content_start = (opening.line_end + 1).min(text.len());
    let indentation = opening.line_start..opening.start;
    let closing =
        fences(text, content_start, Some(opening.character)).find(|fence| fence.closes(&opening, text));
    let (content_end, raw_end, next, closed) = match closing {
        Some(fence) => (fence.line_start, fence.end, (fence.line_end + 1).min(text.len()), true),
        None => (text.len(), text.len() - line_end_length(text), text.len(), false),
    };
    let raw = opening.line_start..raw_end.max(opening.end);
    let content = content_start..content_end;
    Some((Span { info, indentation, content, raw, closed }, next))
}

/// A line that begins, after blanks, with a run of at least [`FENCE`] equal fence characters.
struct Fence {
    character: u8,
    line_start: usize,
    /// The run of fence characters is `start..end`.
    start: usize,
    end: usize,
    /// Position of the line's `\n`, or the text's length.
    line_end: usize,
}

impl Fence {
    fn info(&self) -> Range<usize> {
        self.end..self.line_end
    }

    fn indent(&self) -> usize {
        self.start - self.line_start
    }

    /// A backtick in the info string means inline code, not a fence.
    fn can_open(&self, text: &str) -> bool {
        self.character == b'~' || memchr(b'`', &text.as_bytes()[self.info()]).is_none()
    }

    fn closes(&self, opening: &Self, text: &str) -> bool {
        self.end - self.start >= opening.end - opening.start
            && self.indent() <= opening.indent() + CLOSING_SLACK
            && text[self.info()].trim().is_empty()
    }
}

/// The fence lines of `text` at or after the line start `from`; of one character only, if `character` is given.
fn fences(text: &str, from: usize, character: Option<u8>) -> impl Iterator<Item = Fence> {
    let bytes = text.as_bytes();
    let mut at = from;
    std::iter::from_fn(move || {
        loop {
            let rest = &bytes[at..];
            let found = match character {
                Some(character) => memchr(character, rest)?,
                None => memchr2(b'`', b'~', rest)?,
            };
            let start = at + found;
            let end = start + bytes[start..].iter().take_while(|byte| **byte == bytes[start]).count();
            // Only the blanks since the last candidate are looked at, so the whole scan is linear.
            let blanks =
                bytes[at..start].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let line_start = start - blanks;
            at = end;
            let begins_line = line_start == from || bytes[line_start - 1] == b'\n';
            if begins_line && end - start >= FENCE {
                let line_end = memchr(b'\n', &bytes[end..]).map_or(bytes.len(), |length| end + length);
                at = line_end;
                return Some(Fence { character: bytes[start], line_start, start, end, line_end });
            }
        }
    })
}

fn line_end_length(text: &str) -> usize {
    if text.ends_with("\r\n") { 2 } else { usize::from(text.ends_with('\n')) }
}

fn without_line_end(content: &str) -> &str {
    &content[..content.len() - line_end_length(content)]
}

/// `content` with what each line's beginning shares with `indentation` removed.
fn without_indentation<'a>(content: &'a str, indentation: &str) -> Cow<'a, str> {
    if indentation.is_empty() || content.is_empty() {
        return Cow::Borrowed(content);
    }
    let mut body = String::with_capacity(content.len());
    for line in content.split_inclusive('\n') {
        let shared = line.bytes().zip(indentation.bytes()).take_while(|(a, b)| a == b).count();
        body.push_str(&line[shared..]);
    }
    Cow::Owned(body)
}

/// The length of the longest run of `character` in `text`.
fn longest_run(text: &str, character: u8) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for byte in text.bytes() {
        run = if byte == character { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (info, body, closed) of every block.
    fn found(text: &str) -> Vec<(&str, String, bool)> {
        blocks(text).map(|block| (block.info, block.body.into_owned(), block.closed)).collect()
    }

    #[test]
    fn text_around_blocks_is_left_out() {
        let text = "Here:\n```python\nprint(1)\n```\nand `x` ``` y\n~~~ c++\nint x;\n~~~~\nbye";
        assert_eq!(found(text), [("python", "print(1)".into(), true), ("c++", "int x;".into(), true)]);
        let raw: Vec<_> = blocks(text).map(|block| block.raw).collect();
        assert_eq!(raw, ["```python\nprint(1)\n```", "~~~ c++\nint x;\n~~~~"]);
    }

    #[test]
    fn info_strings_are_kept_whole() {
        assert_eq!(found("```python3 title=x  \n1\n```"), [("python3 title=x", "1".into(), true)]);
        assert_eq!(found("~~~a`b ~~~\n1\n~~~"), [("a`b ~~~", "1".into(), true)]);
        assert!(found("```not a fence``` really\n").is_empty());
        assert!(found("``\nshort\n``").is_empty());
    }

    #[test]
    fn shorter_and_other_fences_inside_are_content() {
        assert_eq!(found("````md\n```\nx\n```\n````"), [("md", "```\nx\n```".into(), true)]);
        assert_eq!(found("```\n~~~\n```"), [("", "~~~".into(), true)]);
        assert_eq!(found("```\n```py\n```"), [("", "```py".into(), true)]);
    }

    #[test]
    fn empty_blocks_and_blank_lines() {
        assert_eq!(found("```\n```"), [("", String::new(), true)]);
        assert_eq!(found("```\n\n```"), [("", String::new(), true)]);
        assert_eq!(found("```\n\n\n```"), [("", "\n".into(), true)]);
    }

    #[test]
    fn carriage_returns_belong_to_line_ends() {
        let text = "a\r\n```go\r\nx\r\ny\r\n```\r\n```\r\nz\r\n```\r\n";
        assert_eq!(found(text), [("go", "x\r\ny".into(), true), ("", "z".into(), true)]);
    }

    #[test]
    fn indentation_of_the_fence_is_removed() {
        let text = "- item\n\n    ```sh\n    if x\n      y\n\n  z\n    ```\n";
        assert_eq!(found(text), [("sh", "if x\n  y\n\nz".into(), true)]);
        assert_eq!(found("\t```\n\t\tx\n\t```"), [("", "\tx".into(), true)]);
        assert_eq!(found(" ```\n x\n```"), [("", "x".into(), true)]);
    }

    #[test]
    fn a_deeply_indented_fence_inside_a_block_is_content() {
        assert_eq!(found("```\n    ```\nx\n   ```"), [("", "    ```\nx".into(), true)]);
    }

    #[test]
    fn an_unclosed_block_runs_to_the_end() {
        assert_eq!(found("```\n1\n```\n```py\nx\n"), [("", "1".into(), true), ("py", "x".into(), false)]);
        assert_eq!(found("text\n```"), [("", String::new(), false)]);
        assert_eq!(found("```\n"), [("", String::new(), false)]);
        assert_eq!(blocks("a\n```py\nx\r\n").map(|block| block.raw).collect::<Vec<_>>(), ["```py\nx"]);
    }

    #[test]
    fn unfence_takes_the_first_block_with_something_in_it() {
        assert_eq!(unfence("\n```\n \n```\n```py\nx\n```\n"), "x");
        assert_eq!(unfence("```py\nx"), "x");
        let documented = "def f():\n    \"\"\"\n    ```\n    f()\n    ```\n    \"\"\"";
        assert_eq!(unfence(documented), documented);
        assert_eq!(unfence("```\n```"), "```\n```");
        assert_eq!(unfence(""), "");
    }

    #[test]
    fn scanning_hostile_text_is_linear() {
        for unit in ["`", "` ", " `", "```x`\n", "~~~ ~\n", "    ", "\n"] {
            let text = unit.repeat(2_000_000 / unit.len());
            let start = std::time::Instant::now();
            let _ = blocks(&text).count();
            assert!(start.elapsed().as_secs() < 10, "{unit:?} took {:?}", start.elapsed());
        }
    }
}
