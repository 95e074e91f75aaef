//! What is rendered is read back, and no text is too strange to read.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use arrow_array::StringArray;
use autocodegen::text::{blocks, extract, tags};
use proptest::prelude::*;

/// Text made of what matters to Markdown and to templates, mixed with arbitrary characters.
fn markdown() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("```"),
        Just("````"),
        Just("~~~"),
        Just("`"),
        Just("~"),
        Just("\n"),
        Just("\r\n"),
        Just("\r"),
        Just("  "),
        Just("    "),
        Just("\t"),
        Just("python"),
        Just("<question>"),
        Just("</question>"),
        Just("é𝄞"),
        Just("\u{0}"),
    ];
    let piece = prop_oneof![4 => piece.prop_map(String::from), 1 => any::<String>()];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// An info string: one line without white space around it.
fn info() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec!["", "python", "c++", "python3 title=x", "~~~", "a`b", "é"]);
    let any = "[^\r\n]{0,12}".prop_map(|info| info.trim().to_owned());
    prop_oneof![known.prop_map(String::from), any]
}

/// Text that can stand between blocks without opening one.
fn prose() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "Here it is:\n", "\r\n\r\n", "1. `x` and ``` y\n", "a ~~~ b\n  - c\n"])
        .prop_map(String::from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn rendered_blocks_are_read_back(
        parts in prop::collection::vec((prose(), info(), markdown()), 0..5),
        end in prose(),
        crlf in any::<bool>(),
    ) {
        let line_end = if crlf { "\r\n" } else { "\n" };
        let mut reply = String::new();
        for (prose, info, body) in &parts {
            reply += &format!("{prose}{}{line_end}", blocks::render(info, body));
        }
        reply += &end;
        let column = StringArray::from(vec![reply.as_str()]);
        let found = extract::extract_blocks(&column, parts.len()).remove(0).unwrap();
        let read: Vec<_> = found.iter().map(|block| (block.info, block.body.as_ref())).collect();
        let written: Vec<_> = parts.iter().map(|(_, info, body)| (info.as_str(), body.as_str())).collect();
        prop_assert_eq!(read, written);
        let columns = extract::block_columns(&column, &vec![extract::Part::Body; parts.len()]).unwrap().columns;
        for (column, (_, _, body)) in columns.iter().zip(&parts) {
            prop_assert_eq!(column.value(0), body);
        }
        let raw: Vec<_> = parts.iter().map(|(_, info, body)| blocks::render(info, body)).collect();
        prop_assert_eq!(found.iter().map(|block| block.raw).collect::<Vec<_>>(), raw);
    }

    #[test]
    fn indented_blocks_lose_their_indentation(
        lines in prop::collection::vec("[ \t]{0,3}[a-z`~]{0,5}", 0..6),
        indentation in prop::sample::select(vec![" ", "   ", "      ", "\t"]),
    ) {
        let body = lines.join("\n");
        let block = blocks::render("python", &body);
        let indented: Vec<_> = block.lines().map(|line| format!("{indentation}{line}")).collect();
        let reply = indented.join("\n");
        let found: Vec<_> = blocks::blocks(&reply).collect();
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].body.as_ref(), body);
        prop_assert_eq!(found[0].raw, &reply);
    }

    #[test]
    fn any_text_is_read_without_panic(text in markdown(), tag in "[a-z<>/`]{0,8}") {
        for block in blocks::blocks(&text) {
            prop_assert!(text.contains(block.raw));
            prop_assert!(block.body.len() <= block.raw.len() + 2);
        }
        if let Ok(section) = tags::section(&text, &tag) {
            prop_assert!(text.contains(section) && !section.is_empty());
        }
        let _ = blocks::unfence(&text);
    }

    #[test]
    fn a_fenced_text_is_unfenced(info in info(), body in markdown()) {
        let text = blocks::render(&info, &body);
        let expected = if body.trim().is_empty() { &text } else { &body };
        let unfenced = blocks::unfence(&text);
        prop_assert_eq!(unfenced.as_ref(), expected.as_str());
    }

    #[test]
    fn sections_are_read_back(
        before in prose(),
        contents in "[^<`~]{1,40}",
        code in markdown(),
        after in markdown(),
    ) {
        prop_assume!(!contents.trim().is_empty());
        let fenced = blocks::render("", &code);
        let contents = format!("{}\n{fenced}\nend", contents.trim());
        let reply = format!("{before}<question>\n{contents}\n</question>\n{after}");
        // What follows the section is never looked at, not even by the search for blocks inside it.
        prop_assert_eq!(tags::section(&reply, "question"), Ok(contents.as_str()));
    }
}
