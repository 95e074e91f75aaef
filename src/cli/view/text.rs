//! Text of rows made fit for a terminal: escaped, cut, wrapped.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::printable;

/// Most bytes of one text that are shown.
const MOST_BYTES: usize = 512 << 10;
/// Columns between tab stops.
const TAB: usize = 4;

/// `text` so that it cannot drive the terminal, and not too long to be shown.
pub fn shown(text: &str) -> String {
    let cut = text.floor_char_boundary(MOST_BYTES);
    let mut shown = printable(&text[..cut]);
    if cut < text.len() {
        shown += &format!("\n… {} more bytes: `autocodegen query` has all of it", text.len() - cut);
    }
    shown
}

/// The same on one line.
pub fn line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// `text` in lines of at most `width` columns, cut at a blank where there is one in the second half. Tabs become blanks.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let (mut part, mut columns) = (String::new(), 0);
        for c in line.chars() {
            let wide = match c {
                '\t' => (TAB - columns % TAB).min(width),
                c => c.width().unwrap_or(0),
            };
            if columns + wide > width && c == ' ' {
                lines.push(std::mem::take(&mut part));
                columns = 0;
                continue;
            }
            if columns + wide > width {
                let blank = part.rfind(' ').map(|at| at + 1).filter(|end| part[..*end].width() * 2 > width);
                let rest = part.split_off(blank.unwrap_or(part.len()));
                lines.push(std::mem::replace(&mut part, rest));
                columns = part.width();
            }
            match c {
                '\t' => part.extend(std::iter::repeat_n(' ', wide)),
                c => part.push(c),
            }
            columns += wide;
        }
        lines.push(part);
    }
    lines
}

/// `text` in exactly `width` columns: cut with an ellipsis, or filled with blanks.
pub fn fit(text: &str, width: usize) -> String {
    let mut fitted = String::new();
    let mut columns = 0;
    let cut = text.width() > width;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if columns + wide + usize::from(cut) > width {
            break;
        }
        fitted.push(c);
        columns += wide;
    }
    if cut && width > 0 {
        fitted.push('…');
        columns += 1;
    }
    fitted.extend(std::iter::repeat_n(' ', width.saturating_sub(columns)));
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_by_columns_not_by_characters() {
        assert_eq!(wrap("abcdef\n\nx", 4), ["abcd", "ef", "", "x"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("a\tb", 80), ["a   b"]);
        assert_eq!(wrap("some words in a line", 10), ["some words", "in a line"]);
        assert_eq!(wrap("words longer still", 10), ["words ", "longer ", "still"]);
        assert_eq!(wrap("a bcdefghijkl", 8), ["a bcdefg", "hijkl"]);
        assert!(wrap(&"\t日".repeat(9), 1).iter().all(|line| line.width() <= 2));
    }

    #[test]
    fn a_cell_is_as_wide_as_it_is_said_to_be() {
        for text in [
            "",
            "short",
            "exactly ten",
            "日本語日本語日本語",
            "\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}",
        ] {
            for width in [0, 1, 2, 9, 10, 11, 30] {
                assert_eq!(fit(text, width).width(), width, "{text} {width}");
            }
        }
    }

    #[test]
    fn what_would_drive_a_terminal_is_shown_and_does_nothing() {
        let hostile = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\r\u{8}\u{202e}txt\u{2066}\u{61c}";
        for text in [shown(hostile), line(hostile), line("two\nlines\tand a tab")] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{61c}']), "{text:?}");
        }
        assert!(shown(hostile).contains("\\u{1b}[2J"));
    }

    #[test]
    fn a_text_of_megabytes_is_cut_and_says_so() {
        let shown = shown(&"é".repeat(MOST_BYTES));
        assert!(shown.len() < MOST_BYTES + 100);
        assert!(shown.ends_with("query` has all of it"), "{}", &shown[shown.len() - 80..]);
        assert!(shown.contains(&format!("… {MOST_BYTES} more bytes")));
    }
}
