//! Replies that are to be JSON: asked for, read, sent back once, and made columns of.

use super::*;

const SCHEMA: &str = r#"
[stage.json_schema]
type = "object"
required = ["title", "level"]
[stage.json_schema.properties]
title = { type = "string", minLength = 1 }
level = { enum = ["easy", "hard"] }
tests = { type = "array", items = { type = "string" } }
"#;

const COLUMNS: &str = r#"
[[stage]]
name = "columns"
op = "extract_json"
fields = ["title", "level", "tests"]
pointers = { first_test = "/tests/0" }
optional = ["tests", "first_test"]
"#;

/// Writes JSON more or less well, as the prompt says.
fn writer() -> ChatServer {
    ChatServer::new(Duration::ZERO, |asked, _| {
        let messages = asked["messages"].as_array().unwrap();
        let repairing = messages.len() > 1;
        let good = r#"{"title": "Sum", "level": "easy", "tests": ["1", "2"]}"#;
        let text = match (messages[0]["content"].as_str().unwrap(), repairing) {
            ("good", _) | ("mended", true) => good.to_owned(),
            ("loose", _) => {
                "Here you are:\n```json\n{'title': 'Sum', level: \"easy\", // so\n}\n```\nDone.".to_owned()
            }
            ("mended", false) => r#"{"title": "Sum", "level": "odd"}"#.to_owned(),
            ("prose", true) => "Sorry, I cannot.".to_owned(),
            (_, _) => "{\"title\": \"Su".to_owned(),
        };
        choices(&[content(&text)], "stop")
    })
}

#[test]
fn json_is_read_however_it_is_wrapped_and_sent_back_once() {
    let place = Place::new(&["good", "loose", "mended", "hopeless", "prose"], SCHEMA, COLUMNS);
    let server = writer();
    place.run(&server, "r", 0);
    let rows = place.table("r", "dataset");
    let found: Vec<Value> = rows
        .iter()
        .map(|row| json!([row["text"], row["title"], row["level"], row.get("tests"), row.get("first_test")]))
        .collect();
    let tests = "[\"1\",\"2\"]";
    assert_eq!(
        json!(found),
        json!([
            ["good", "Sum", "easy", tests, "1"],
            ["loose", "Sum", "easy", null, null],
            ["mended", "Sum", "easy", tests, "1"],
        ])
    );
    assert_eq!(
        place.rejected("r"),
        [
            ["hopeless", "json_invalid", "the JSON ends too early at line 1, column 14"],
            ["prose", "json_invalid", "'S' where a value is expected at line 1, column 1"],
        ]
    );
    // Three were sent back, each once, with their own words and what is wrong with them.
    let chats = server.chats();
    assert_eq!(chats.len(), 8);
    let mended = chats
        .iter()
        .find(|asked| asked["messages"][0]["content"] == "mended" && asked["messages"][1].is_object());
    let messages = mended.unwrap()["messages"].as_array().unwrap();
    assert_eq!(messages[1], json!({"role": "assistant", "content": r#"{"title": "Sum", "level": "odd"}"#}));
    let complaint = messages[2]["content"].as_str().unwrap();
    assert!(complaint.contains("at /level: \"odd\" is none of [\"easy\",\"hard\"]"), "{complaint}");
    assert!(complaint.ends_with("Reply with the corrected JSON only."), "{complaint}");
    for asked in &chats {
        assert_eq!(asked["response_format"]["type"], "json_schema");
        assert_eq!(asked["response_format"]["json_schema"]["name"], "ask_reply");
        assert_eq!(asked["response_format"]["json_schema"]["schema"]["required"], json!(["title", "level"]));
    }
    // Everything is in the journal, repairs included.
    place.pipeline(SCHEMA, &COLUMNS.replace("\"level\", ", ""));
    place.run(&server, "r", 0);
    assert_eq!((server.asked(), place.table("r", "dataset").len()), (8, 3));
    // Without repair, the first reply counts. The format is another: so are the requests.
    place.pipeline(&format!("repair = false\nresponse_format = \"json_object\"\n{SCHEMA}"), COLUMNS);
    place.run(&server, "s", 0);
    assert_eq!((server.asked(), place.table("s", "dataset").len()), (13, 2));
    assert_eq!(server.chats()[12]["response_format"], json!({"type": "json_object"}));
}

#[test]
fn samples_cut_replies_and_repairs_go_together() {
    let server = ChatServer::new(Duration::ZERO, |asked, _| {
        let repairing = asked["messages"].as_array().unwrap().len() > 1;
        match (asked["max_tokens"].as_u64(), repairing) {
            (Some(100), _) => {
                choices(&vec![content("{\"a\": "); asked["n"].as_u64().unwrap_or(1) as usize], "length")
            }
            (_, false) => choices(&[content("[1]")], "stop"),
            (_, true) => choices(&[content("{\"a\": 1}")], "stop"),
        }
    });
    let keys = "samples = 2\non_length = \"retry\"\nresponse_format = \"json_object\"";
    let place = Place::new(&["x"], keys, "");
    place.run(&server, "r", 0);
    assert_eq!(of(&place.table("r", "dataset"), "output"), ["{\"a\":1}"; 2]);
    // One call for both samples, then two more for each of them.
    assert_eq!(server.asked(), 5);
    assert_eq!(place.table("r", "replies").len(), 6);
    place.pipeline(keys, "[[stage]]\nname = \"columns\"\nop = \"extract_json\"\nfields = [\"a\"]\n");
    place.run(&server, "r", 0);
    assert_eq!(server.asked(), 5);
    assert_eq!(of(&place.table("r", "dataset"), "a"), ["1"; 2]);
}

#[test]
fn fields_that_are_missing_and_replies_that_are_no_json_are_told() {
    let place = Place::new(
        &["{\"title\": null}", "{\"title\": \"T\"} or {\"title\": \"T\", \"tests\": {}}", "none"],
        "",
        "",
    );
    let columns = "[[stage]]\nname = \"columns\"\nop = \"extract_json\"\nfields = [\"title\", \"tests\"]\n";
    place.pipeline("", columns);
    let echo = ChatServer::new(Duration::ZERO, |asked, _| choices(&[content(prompt_of(asked))], "stop"));
    place.run(&echo, "r", 0);
    let rows = place.table("r", "dataset");
    assert_eq!((of(&rows, "title"), of(&rows, "tests")), (vec![&json!("T")], vec![&json!("{}")]));
    let told: Vec<[String; 2]> =
        place.rejected("r").into_iter().map(|[_, reason, detail]| [reason, detail]).collect();
    assert_eq!(
        told,
        [
            ["field_missing", "the reply has no `/title`"],
            ["json_invalid", "'n' where a value is expected at line 1, column 1"],
        ]
    );
    for (keys, why) in [
        ("fields = []", "it names no field"),
        ("fields = [\"a\"]\noptional = [\"b\"]", "`optional` names `b`"),
        ("pointers = { a = \"a\" }", "`a` is no JSON pointer"),
    ] {
        place.pipeline("", &format!("[[stage]]\nname = \"columns\"\nop = \"extract_json\"\n{keys}\n"));
        let said = place.run(&echo, "r", 2);
        assert!(said.contains(why) && said.contains("hint: "), "{said}");
    }
}
