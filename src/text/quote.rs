//! Whether a text really says what somebody quotes from it.
//!
//! White space does not count: quotes are wrapped and indented otherwise than their source. Nor do marks around the whole
//! quote, nor what is left out of it where it says so (`...`).

/// Fewest characters of a quote, and of each of its pieces, white space left out: less is found in any text.
const LEAST: usize = 4;

/// Marks that are put around quotes.
const MARKS: [char; 7] = ['`', '"', '\'', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}'];

/// A text that quotes are looked for in.
pub struct Quotable(String);

impl Quotable {
    /// Of this text.
    pub fn new(text: &str) -> Self {
        Self(dense(text))
    }

    /// Whether `quote` is in the text: as it stands, without the marks around it, or piece by piece in order where it
    /// leaves something out. Never, if it is blank or very short.
    pub fn says(&self, quote: &str) -> bool {
        let quote = dense(quote);
        let bare = quote.trim_matches(MARKS);
        self.has(&quote) || self.has(bare) || self.has_pieces(bare)
    }

    fn has(&self, quote: &str) -> bool {
        is_long(quote) && self.0.contains(quote)
    }

    fn has_pieces(&self, quote: &str) -> bool {
        let quote = quote.replace('\u{2026}', "...");
        let mut rest = self.0.as_str();
        let mut pieces = quote
            .split("...")
            .map(|piece| piece.trim_matches('.'))
            .filter(|piece| !piece.is_empty())
            .peekable();
        pieces.peek().is_some()
            && pieces.all(|piece| {
                let found = rest.find(piece).filter(|_| is_long(piece));
                rest = found.map_or("", |at| &rest[at + piece.len()..]);
                found.is_some()
            })
    }
}

fn is_long(quote: &str) -> bool {
    quote.chars().nth(LEAST - 1).is_some()
}

fn dense(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODE: &str = "def test():\n    assert total([1.5, 2.25]) == 3.75\n    try:\n        run()\n    except Exception:\n        pass\n";

    #[test]
    fn quotes_are_found_however_they_are_set() {
        let code = Quotable::new(CODE);
        for quote in [
            "assert total([1.5, 2.25]) == 3.75",
            "`assert total([1.5,2.25])==3.75`",
            "try:\n  run()\nexcept Exception:\n  pass",
            "\u{201c}except Exception: pass\u{201d}",
            "def test(): ... except Exception:",
            "def test():\u{2026}except",
            "... assert total",
        ] {
            assert!(code.says(quote), "{quote}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let code = Quotable::new(CODE);
        for quote in [
            "",
            "   \n",
            "```",
            "...",
            "==",
            "x",
            "assert total([1.5, 2.25]) == 3.76",
            "except Exception: ... def test():",
            "except Exception: ... a",
            "def test(): ... nothing like it",
        ] {
            assert!(!code.says(quote), "{quote}");
        }
    }

    proptest! {
        #[test]
        fn any_piece_is_found_again_with_other_white_space(text in "\\PC{8,60}", from in 0usize..20, gap in "[ \\n\\t]{0,3}") {
            let quote: String = text.chars().skip(from).map(|c| format!("{c}{gap}")).collect();
            let long = dense(&quote).chars().count() >= LEAST;
            prop_assert_eq!(Quotable::new(&text).says(&quote), long);
        }

        #[test]
        fn nothing_panics(text in ".{0,80}", quote in "[.`a\u{2026} \u{201c}]{0,20}|.{0,40}") {
            let _ = Quotable::new(&text).says(&quote);
        }
    }
}
