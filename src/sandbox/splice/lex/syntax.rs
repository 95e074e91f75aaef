//! How the tokens of languages differ.

/// What a language's tokens look like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Syntax {
    /// `"""` opens text that may span lines.
    pub text_blocks: bool,
    /// `R"x( ... )x"` is text without escapes.
    pub raw_strings: bool,
    /// `@"..."` is text over lines in which two quotes stand for one and nothing else is an escape.
    pub verbatim_strings: bool,
    /// A line that starts with `#` is a directive.
    pub directives: bool,
    /// What a backtick opens.
    pub backtick: Backtick,
    /// `/x/` may be a regular expression.
    pub regex: bool,
}

impl Syntax {
    /// None of these: to be varied where a constant is needed.
    pub const PLAIN: Self = Self {
        text_blocks: false,
        raw_strings: false,
        verbatim_strings: false,
        directives: false,
        backtick: Backtick::Plain,
        regex: false,
    };
}

/// What a backtick opens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backtick {
    /// Nothing.
    #[default]
    Plain,
    /// Text up to the next backtick, without escapes.
    Raw,
    /// Text with escapes and `${code}`.
    Template,
}
