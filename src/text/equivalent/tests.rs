use proptest::prelude::*;

use super::*;

fn plain(text: &str) -> Printed<'_> {
    Printed { text, language: "" }
}

fn same(left: &str, right: &str) -> bool {
    let (one, other) = (equivalent(plain(left), plain(right)), equivalent(plain(right), plain(left)));
    assert_eq!(one.is_ok(), other.is_ok(), "{left} {right}");
    one.is_ok()
}

#[test]
fn the_same_value_in_two_languages() {
    for (left, right) in [
        ("Output: [1, 2.0, 'a b']", "Output: [1,2,\"a b\"]\n"),
        ("[('08:00', '09:30')]", "[[\"08:00\", \"09:30\"]]"),
        ("[('08:00', '09:30'), None]", "[(08:00, 09:30), null]"),
        ("True False None", "true false nil"),
        ("(1 #t (2 3))", "[1, TRUE, [2, 3]]"),
        ("x = 'it\\'s'", "x = \"it's\""),
        ("Output: 'a b'", "Output: a b"),
        ("{'a': 1, 'b': [2]}", "%{\"b\" => [2], \"a\" => 1}"),
        ("{'a': 1, 'b': 2}", "{b=2, a=1}"),
        ("{'a': 1, 'b': 2}", "#hash((b . 2) (a . 1))"),
        ("{'a': 1, 'b': 2}", "Map(a -> 1, b -> 2)"),
        ("{ a: 1, b: 'x' }", "{\"a\":1,\"b\":\"x\"}"),
        ("{1: 'x'}", "{\"1\": \"x\"}"),
        ("{'a': 1}", "{:a=>1}"),
        ("{'a': 1}", "[\"a\": 1]"),
        ("[]", "#()"),
        ("(1,)", "(1)"),
        ("[1, 2, 3]", "List(1, 2, 3)"),
        ("[1, 2, 3]", "Vector(1, 2, 3)"),
        ("Set(2) { 1, 2 }", "[2, 1]"),
        ("[\n  1,\n  2\n]", "[1, 2]"),
        ("[ 1,\n\n2 , a b]", "[1,2,a b]"),
        ("f(x) = 3", "f(x) = 3.0"),
        ("(ok, 1)", "{:ok, 1}"),
        ("a \r\nb\n\n", "a\nb"),
        ("inf nan", "Infinity NaN"),
        ("['a\\tb']", "[\"a\\u0009b\"]"),
        ("don't 'x'", "don't \"x\""),
        ("n=3, k=[2]", "n = 3, k = (2)"),
        ("[a b, c]", "[\"a b\", \"c\"]"),
        ("", "\n"),
    ] {
        assert!(same(left, right), "{left} | {right}");
    }
}

#[test]
fn different_values() {
    for (left, right) in [
        ("[1, 2]", "[12]"),
        ("[1, 2]", "[2, 1]"),
        ("[1, 2]", "1, 2"),
        ("[[1], [2, 3]]", "[[1, 2], [3]]"),
        ("['a', 'b']", "['a b']"),
        ("[a b]", "['a b']"),
        ("(\"a\" \"b\")", "[\"a b\"]"),
        ("['a, b']", "['a', 'b']"),
        ("['1']", "[1]"),
        ("'None'", "None"),
        ("'true'", "true"),
        ("x: '1'", "x: 1"),
        ("{'a': 1}", "{'a': '1'}"),
        ("{'a': 1, 'b': 2}", "{'a': 2, 'b': 1}"),
        ("{'a': 1}", "{'a': 1, 'b': 2}"),
        ("{'a': 1, 'a': 1}", "{'a': 1, 'b': 1}"),
        ("[10:00, 09:00]", "[09:00, 10:00]"),
        ("[a: x, b: y]", "[b: y, a: x]"),
        ("{1, 2}", "{2, 1}"),
        ("Set(1, 2)", "Set(1, 1)"),
        ("[0, 5)", "(0, 5]"),
        ("a\nb", "a b"),
        ("a  b", "a b"),
        ("  a", "a"),
        ("a\n\nb", "a\nb"),
        ("a => b", "a -> b"),
        ("007", "7"),
        ("1.10.0", "1.1.0"),
        ("a, b", "a b"),
        ("'a  b'", "'a b'"),
        ("'A'", "'a'"),
        ("1", ""),
        ("[]", "[[]]"),
        ("[None]", "[]"),
        ("nan", "inf"),
        ("-1", "1"),
        ("[.]", "[]"),
        ("[:]", "[]"),
        ("[.]", "[:]"),
        ("[a . b]", "[a : b]"),
        ("null", "undefined"),
        ("Output: [a\nb] status 0", "Output: [a b] status 0"),
        ("[the  quick brown]", "[the quick  brown]"),
        ("['x', a  b]", "['x', a b]"),
    ] {
        assert!(!same(left, right), "{left} | {right}");
    }
}

#[test]
fn what_only_one_language_writes_so() {
    let set = Printed { text: "{1, 2}", language: "python" };
    assert_eq!(equivalent(set, plain("[2, 1]")), Ok(()));
    assert!(equivalent(set, plain("[2, 2]")).is_err());
    assert!(equivalent(set, plain("{2, 1}")).is_ok());
    let none = Printed { text: "[:]", language: "swift" };
    assert_eq!(equivalent(none, plain("{}")), Ok(()));
}

#[test]
fn the_first_different_lines_are_named() {
    let at = |left, right| equivalent(plain(left), plain(right)).unwrap_err();
    assert_eq!(at("a\n[1,\n2]\nb", "a\n[1, 2]\nc"), Difference { left_line: 4, right_line: 3 });
    assert_eq!(at("a\nb\n", "a\n"), Difference { left_line: 1, right_line: 1 });
    assert_eq!(at("", "x"), Difference { left_line: 1, right_line: 1 });
}

#[test]
fn hostile_outputs_end_quickly() {
    let deep = "([{".repeat(100_000);
    assert!(same(&deep, &deep) && !same(&deep, &deep[1..]));
    let nested = format!("{}{}", "(".repeat(50_000), ")".repeat(50_000));
    assert!(same(&nested, &nested));
    let long = |first: &str| format!("Set({first}{})", "1, ".repeat(20_000));
    let started = std::time::Instant::now();
    assert!(!same(&long("2, "), &long("3, ")));
    let ascending: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let descending: Vec<String> = (0..20_000).rev().map(|n| n.to_string()).collect();
    same(&format!("Set({})", ascending.join(",")), &format!("Set({})", descending.join(",")));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    for quotes in
        ["'", "\"", "'\\", "\\", "\u{0}", "'\n'", ":", "=", "=>", ")", "%{", "#hash(", "Set(1)", "((. .))"]
    {
        assert!(same(&quotes.repeat(50), &quotes.repeat(50)));
    }
}

/// A value that both programs are to print.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Integer(i64),
    /// Thousandths.
    Float(i32),
    Bool(bool),
    Null,
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        (-100i64..100).prop_map(Value::Integer),
        any::<i32>().prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        "[ -~é\n\t]{0,12}".prop_map(Value::Text),
        "[a-z]{1,6}".prop_map(Value::Text),
        "(true|None|1|-2.5|nil|Set|a b|, |: |\\[\\])".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::btree_map("[a-z]{1,3}|[ -~]{0,5}", inner, 0..4)
                .prop_map(|entries| Value::Map(entries.into_iter().collect())),
        ]
    })
}

/// How a language writes values.
#[derive(Debug, Clone, Copy)]
struct Style {
    quote: char,
    names: [&'static str; 3],
    list: [&'static str; 3],
    map: [&'static str; 4],
    decimals: bool,
    reversed: bool,
}

const STYLES: [Style; 5] = [
    Style {
        quote: '\'',
        names: ["True", "False", "None"],
        list: ["[", ", ", "]"],
        map: ["{", ": ", ", ", "}"],
        decimals: true,
        reversed: false,
    },
    Style {
        quote: '"',
        names: ["true", "false", "null"],
        list: ["[", ",", "]"],
        map: ["{", ":", ",", "}"],
        decimals: false,
        reversed: true,
    },
    Style {
        quote: '"',
        names: ["true", "false", "nil"],
        list: ["[", ", ", "]"],
        map: ["%{", " => ", ", ", "}"],
        decimals: true,
        reversed: true,
    },
    Style {
        quote: '"',
        names: ["#t", "#f", "#<void>"],
        list: ["(", " ", ")"],
        map: ["#hash(", " . ", " ", ")"],
        decimals: true,
        reversed: false,
    },
    Style {
        quote: '"',
        names: ["TRUE", "FALSE", "NULL"],
        list: ["List(\n  ", ",\n  ", "\n)"],
        map: ["Map(", " -> ", ", ", ")"],
        decimals: false,
        reversed: false,
    },
];

fn text(style: Style, value: &str) -> String {
    let escaped: String = value
        .chars()
        .map(|character| match character {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\\' => "\\\\".to_owned(),
            _ if character == style.quote => format!("\\{character}"),
            _ => character.to_string(),
        })
        .collect();
    format!("{}{escaped}{}", style.quote, style.quote)
}

fn print(style: Style, value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(thousandths) => {
            let number = format!("{:.3}", f64::from(*thousandths) / 1000.0);
            if style.decimals {
                number
            } else {
                number.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
        Value::Bool(value) => style.names[usize::from(!value)].to_owned(),
        Value::Null => style.names[2].to_owned(),
        Value::Text(value) => text(style, value),
        Value::List(values) => {
            let values: Vec<String> = values.iter().map(|value| print(style, value)).collect();
            format!("{}{}{}", style.list[0], values.join(style.list[1]), style.list[2])
        }
        Value::Map(entries) => {
            let dotted = style.map[1] == " . ";
            let entry = |(key, value): &(String, Value)| {
                let entry = format!("{}{}{}", text(style, key), style.map[1], print(style, value));
                if dotted { format!("({entry})") } else { entry }
            };
            let mut entries: Vec<String> = entries.iter().map(entry).collect();
            if style.reversed {
                entries.reverse();
            }
            format!("{}{}{}", style.map[0], entries.join(style.map[2]), style.map[3])
        }
    }
}

/// `value` with one leaf, the `at`-th counted round, changed a little.
fn changed(value: &Value, at: &mut usize) -> Option<Value> {
    let leaf = |changed: Value, at: &mut usize| {
        let here = *at == 0;
        *at = at.wrapping_sub(1);
        here.then_some(changed)
    };
    match value {
        Value::Integer(number) => leaf(Value::Integer(number.wrapping_add(1)), at),
        Value::Float(number) => leaf(Value::Float(number.wrapping_add(1)), at),
        Value::Bool(value) => leaf(Value::Bool(!value), at),
        Value::Null => leaf(Value::Text("null".into()), at),
        Value::Text(text) => leaf(Value::Text(format!("{text}x")), at),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                if let Some(value) = changed(value, at) {
                    let mut values = values.clone();
                    values[index] = value;
                    return Some(Value::List(values));
                }
            }
            leaf(Value::List(values.iter().cloned().chain([Value::Null]).collect()), at)
        }
        Value::Map(entries) => {
            for (index, (_, value)) in entries.iter().enumerate() {
                if let Some(value) = changed(value, at) {
                    let mut entries = entries.clone();
                    entries[index].1 = value;
                    return Some(Value::Map(entries));
                }
            }
            leaf(Value::Map(entries.iter().cloned().chain([("new key".into(), Value::Null)]).collect()), at)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_value_is_the_same_in_all_styles(value in value(), one in 0usize..5, other in 0usize..5) {
        let (left, right) = (print(STYLES[one], &value), print(STYLES[other], &value));
        prop_assert!(same(&left, &right), "{left} | {right}");
        let (one, other) = (format!("case 1: {left}\nOutput: {left}"), format!("case 1: {right}\nOutput: {right}\n"));
        prop_assert!(same(&one, &other), "{one} | {other}");
    }

    #[test]
    fn a_changed_leaf_is_a_difference_in_all_styles(value in value(), leaf in 0usize..12, one in 0usize..5, other in 0usize..5) {
        let mut at = leaf;
        if let Some(wrong) = changed(&value, &mut at) {
            let (left, right) = (print(STYLES[one], &value), print(STYLES[other], &wrong));
            prop_assert!(!same(&left, &right), "{left} | {right}");
        }
    }

    #[test]
    fn a_changed_letter_or_digit_is_a_difference(lines in prop::collection::vec("[a-z0-9 :,=.'\\[\\](){}-]{0,20}", 1..4), at in any::<prop::sample::Index>()) {
        let text = lines.join("\n");
        let places: Vec<usize> = text.char_indices().filter(|(_, c)| c.is_alphanumeric()).map(|(at, _)| at).collect();
        if !places.is_empty() {
            let at = places[at.index(places.len())];
            let with = if text.as_bytes()[at].is_ascii_digit() {
                ((text.as_bytes()[at] - b'0' + 1) % 10 + b'0') as char
            } else {
                'Q'
            };
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &with.to_string());
            prop_assert!(same(&text, &text));
            prop_assert!(!same(&text, &wrong), "{text} | {wrong}");
        }
    }

    #[test]
    fn anything_is_the_same_as_itself(text in "\\PC{0,60}") {
        prop_assert!(same(&text, &text));
    }
}
