//! Tagged sections of model replies: `<question> ... </question>`.

use std::ops::Range;

use memchr::memmem;

use super::blocks;

/// Why a text has no usable section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// There is no opening tag.
    #[error("there is no opening tag")]
    Missing,
    /// The tag occurs in code only, where it does not count.
    #[error("the tag occurs in code only")]
    InCode,
    /// There are opening tags, none of which is closed.
    #[error("the tag is opened but not closed")]
    Unclosed,
    /// The first section holds nothing but white space.
    #[error("the section is empty")]
    Empty,
    /// There is another section of that name.
    #[error("there are several such sections")]
    Repeated,
    /// It lies inside another section that was asked for.
    #[error("the section is part of another one")]
    Nested,
}

impl SectionError {
    /// A short stable name for counting rejected rows.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "section_missing",
            Self::InCode => "section_in_code",
            Self::Unclosed => "section_unclosed",
            Self::Empty => "section_empty",
            Self::Repeated => "section_repeated",
            Self::Nested => "section_nested",
        }
    }
}

/// The first complete section `<tag> ... </tag>` of `text`, without the white space around its contents.
///
/// Tags are case-sensitive and have no attributes. Sections of the same name may be nested: the outer one
/// counts. An opening tag that is never closed, such as one mentioned in passing, is skipped when a complete
/// section follows. A tag inside a closed fenced block, or written as inline code (`` `<tag>` ``), is not a tag.
///
/// # Errors
/// See [`SectionError`].
pub fn section<'a>(text: &'a str, tag: &str) -> Result<&'a str, SectionError> {
    find(text, tag).map(|range| text[range].trim())
}

/// One section for each of `tags`, in that order. Other than [`section`], of which the first counts, there must be no second
/// one of the same name, and none may lie inside another: what a model meant then can only be guessed.
///
/// # Errors
/// The first tag without a usable section, and why.
pub fn sections<'a, 't>(text: &'a str, tags: &[&'t str]) -> Result<Vec<&'a str>, (&'t str, SectionError)> {
    let mut found: Vec<Range<usize>> = Vec::with_capacity(tags.len());
    for &tag in tags {
        let range = find(text, tag).map_err(|error| (tag, error))?;
        let after = &text[range.end + tag.len() + "</>".len()..];
        if matches!(find(after, tag), Ok(_) | Err(SectionError::Empty)) {
            return Err((tag, SectionError::Repeated));
        }
        found.push(range);
    }
    for (range, &tag) in found.iter().zip(tags) {
        if found.iter().any(|other| other.start < range.start && range.start < other.end) {
            return Err((tag, SectionError::Nested));
        }
    }
    Ok(found.into_iter().map(|range| text[range].trim()).collect())
}

/// Where the contents of the first complete section are.
fn find(text: &str, tag: &str) -> Result<Range<usize>, SectionError> {
    let opening = format!("<{tag}>");
    let closing = format!("</{tag}>");
    let mut in_code = false;
    let mut opened = Vec::new();
    let mut first: Option<Range<usize>> = None;
    for (at, is_opening) in tags(text, &opening, &closing) {
        match at {
            Place::Code => in_code |= is_opening,
            Place::Text(at) if is_opening => opened.push(at + opening.len()),
            Place::Text(at) => {
                let Some(start) = opened.pop() else { continue };
                if first.as_ref().is_none_or(|first| start < first.start) {
                    first = Some(start..at);
                }
                if opened.is_empty() {
                    break;
                }
            }
        }
    }
    match first {
        Some(range) if text[range.clone()].trim().is_empty() => Err(SectionError::Empty),
        Some(range) => Ok(range),
        None if !opened.is_empty() => Err(SectionError::Unclosed),
        None if in_code => Err(SectionError::InCode),
        None => Err(SectionError::Missing),
    }
}

/// Where a tag stands.
enum Place {
    /// In running text, at this byte.
    Text(usize),
    /// In a fenced block or in inline code.
    Code,
}

/// The opening (`true`) and closing (`false`) tags of `text`, in order.
fn tags<'a>(text: &'a str, opening: &'a str, closing: &'a str) -> impl Iterator<Item = (Place, bool)> + 'a {
    let bytes = text.as_bytes();
    let mut openings = memmem::find_iter(bytes, opening).peekable();
    let mut closings = memmem::find_iter(bytes, closing).peekable();
    // A block that is never closed hides nothing: the closing tag may well be after it.
    let mut fenced = blocks::spans(text).filter(|span| span.closed).map(|span| span.raw).peekable();
    std::iter::from_fn(move || {
        let is_opening = match (openings.peek(), closings.peek()) {
            (Some(opening), Some(closing)) => opening < closing,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return None,
        };
        let at = if is_opening { openings.next()? } else { closings.next()? };
        while fenced.next_if(|block| block.end <= at).is_some() {}
        let end = at + if is_opening { opening.len() } else { closing.len() };
        let inline = at > 0 && bytes[at - 1] == b'`' && bytes.get(end) == Some(&b'`');
        let code = inline || fenced.peek().is_some_and(|block| block.contains(&at));
        Some((if code { Place::Code } else { Place::Text(at) }, is_opening))
    })
}

#[cfg(test)]
mod tests {
    use super::SectionError::{Empty, InCode, Missing, Nested, Repeated, Unclosed};
    use super::*;

    fn question(text: &str) -> Result<&str, SectionError> {
        section(text, "question")
    }

    #[test]
    fn the_first_complete_section_is_taken_and_trimmed() {
        assert_eq!(question("Sure.\n<question>\r\n  a b\n\n</question> <question>c</question>"), Ok("a b"));
        assert_eq!(question("<question>ä</question>"), Ok("ä"));
        assert_eq!(question("</question><question>x</question>"), Ok("x"));
    }

    #[test]
    fn nested_sections_belong_to_the_outer_one() {
        let text = "<question>a <question>b</question> c</question> d</question>";
        assert_eq!(question(text), Ok("a <question>b</question> c"));
    }

    #[test]
    fn an_opening_tag_mentioned_in_passing_is_skipped() {
        assert_eq!(question("It goes after <question>: <question>x</question>"), Ok("x"));
        assert_eq!(question("Between `<question>` and `</question>`: <question>x</question>"), Ok("x"));
    }

    #[test]
    fn tags_in_code_are_not_tags() {
        assert_eq!(question("```\n<question>no</question>\n```\n<question>yes</question>"), Ok("yes"));
        let text = "<question>a\n```xml\n</question>\n```\nb</question>";
        assert_eq!(question(text), Ok("a\n```xml\n</question>\n```\nb"));
        assert_eq!(question("```\n<question>x</question>\n```"), Err(InCode));
    }

    #[test]
    fn an_unclosed_block_hides_nothing() {
        assert_eq!(question("<question>\n```python\nx\n</question>"), Ok("```python\nx"));
    }

    #[test]
    fn sections_stand_beside_each_other_and_once() {
        let both = |text| sections(text, &["a", "b"]);
        assert_eq!(both("<b> 2 </b> and <a>1</a>"), Ok(vec!["1", "2"]));
        assert_eq!(both("<a>1</a>"), Err(("b", Missing)));
        assert_eq!(both("<a>1</a><b>2</b><a>3</a>"), Err(("a", Repeated)));
        assert_eq!(both("<a>1</a><b>2</b><b> </b>"), Err(("b", Repeated)));
        assert_eq!(both("<a>1 <b>2</b></a>"), Err(("b", Nested)));
        assert_eq!(both("<a>1 <b>2</a> 3</b>"), Err(("b", Nested)));
        assert_eq!(both("<a>1</a><b>2"), Err(("b", Unclosed)));
        let code = "<a>\n```xml\n<b></b></a>\n```\n</a><b>\n```\n<a>x</a>\n```\n</b>";
        assert_eq!(both(code), Ok(vec!["```xml\n<b></b></a>\n```", "```\n<a>x</a>\n```"]));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        assert_eq!(question(""), Err(Missing));
        assert_eq!(question("<Question>x</Question>"), Err(Missing));
        assert_eq!(question("x</question>"), Err(Missing));
        assert_eq!(question("<question>x"), Err(Unclosed));
        assert_eq!(question("<question>x</questio"), Err(Unclosed));
        assert_eq!(question("<question> \n </question>"), Err(Empty));
    }
}
