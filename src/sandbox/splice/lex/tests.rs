//! What is code and what is not.

use proptest::prelude::*;

use super::*;

const EVERYTHING: Syntax = Syntax {
    text_blocks: true,
    raw_strings: true,
    verbatim_strings: true,
    directives: true,
    backtick: Backtick::Template,
    regex: true,
};

fn texts<'a>(source: &'a str, syntax: &Syntax) -> Vec<&'a str> {
    lex(source, syntax).into_iter().map(|token| token.text).collect()
}

#[test]
fn strings_and_comments_are_not_code() {
    let source = "a \"b\\\" c\" 'd' // e\n/* f */ g";
    assert_eq!(texts(source, &Syntax::default()), ["a", "\"b\\\" c\"", "'d'", "g"]);
}

#[test]
fn raw_strings_end_at_their_own_delimiter() {
    let source = "x = R\"q(a )\" \\ b)q\"; y";
    assert_eq!(texts(source, &EVERYTHING), ["x", "=", "R\"q(a )\" \\ b)q\"", ";", "y"]);
}

#[test]
fn digit_separators_do_not_open_a_character() {
    assert_eq!(texts("1'000'000 + 'x'", &EVERYTHING), ["1'000'000", "+", "'x'"]);
}

#[test]
fn templates_hold_code_that_holds_templates() {
    let source = "`a ${ f({ b: `c ${d} }` }) } e` + 1";
    assert_eq!(texts(source, &EVERYTHING), ["`a ${ f({ b: `c ${d} }` }) } e`", "+", "1"]);
}

#[test]
fn a_slash_divides_after_a_value_and_opens_a_regex_elsewhere() {
    assert_eq!(texts("a / b / c", &EVERYTHING), ["a", "/", "b", "/", "c"]);
    assert_eq!(texts("x = /[/\"]/g", &EVERYTHING), ["x", "=", "/[/\"]/", "g"]);
}

#[test]
fn directives_span_continued_lines_and_stop_at_comments() {
    let source = "#define F(x) \\\n  { x\nint y; #z // w";
    assert_eq!(texts(source, &EVERYTHING), ["#define F(x) \\\n  { x", "int", "y", ";", "#", "z"]);
}

proptest! {
    #[test]
    fn any_input_gives_tokens_in_order(source in any::<String>()) {
        let mut end = 0;
        for token in lex(&source, &EVERYTHING) {
            prop_assert!(token.start >= end && !token.text.is_empty());
            prop_assert_eq!(&source[token.start..token.end()], token.text);
            end = token.end();
        }
    }

    #[test]
    fn code_like_input_gives_tokens_in_order(
        source in "([a-z]|[0-9]|[(){}\\[\\]]|\"|'|`|\\$\\{|/|\\\\|\n|#|R\"|\\*| ){0,80}",
    ) {
        let mut end = 0;
        for token in lex(&source, &EVERYTHING) {
            prop_assert!(token.start >= end && !token.text.is_empty());
            end = token.end();
        }
    }
}
