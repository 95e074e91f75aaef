//! Reasoning in its own column, and what becomes of replies by how they end.

use super::*;

/// Ends each reply as its prompt says; what is cut at 100 tokens is whole with more, unless the prompt is `endless`.
fn obedient() -> ChatServer {
    ChatServer::new(Duration::ZERO, |asked, _| {
        let tokens = asked.get("max_completion_tokens").unwrap_or(&asked["max_tokens"]).as_u64().unwrap();
        match prompt_of(asked) {
            "long" if tokens > 100 => choices(&[content("all of it")], "stop"),
            "long" | "endless" => choices(&[content("a piece")], "length"),
            "filtered" => choices(&[content("half a")], "content_filter"),
            "refused" => choices(&[json!({"content": null, "refusal": "I will \u{1b}not"})], "stop"),
            "odd" => choices(&[content("call")], "tool_calls"),
            prompt => choices(&[content(prompt)], "stop"),
        }
    })
}

const TEXTS: [&str; 6] = ["fine", "long", "endless", "filtered", "refused", "odd"];

#[test]
fn replies_that_do_not_end_well_are_rejected_each_with_its_reason() {
    let place = Place::new(&TEXTS, "", "");
    let server = obedient();
    place.run(&server, "r", 0);
    assert_eq!(place.counts("r", "ask.reply"), [6, 0, 1, 5, 0]);
    let rejected = place.rejected("r");
    let reasons: Vec<[&str; 2]> = rejected.iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
    assert_eq!(
        reasons,
        [
            ["long", "finish_reason_length"],
            ["endless", "finish_reason_length"],
            ["filtered", "finish_reason_content_filter"],
            ["refused", "refusal"],
            ["odd", "finish_reason_tool_calls"],
        ]
    );
    assert_eq!(rejected[3][2], "the model refuses: I will \u{1b}not");
    assert_eq!(server.asked(), 6);
}

#[test]
fn a_stage_may_keep_them_and_say_how_they_ended() {
    let keys = "on_length = \"keep\"\non_content_filter = \"keep\"\non_refusal = \"keep\"\nfinish_reason_into = \"ended\"";
    let place = Place::new(&TEXTS, keys, "");
    place.run(&obedient(), "r", 0);
    let rows = place.table("r", "dataset");
    let ended: Vec<Value> = rows.iter().map(|row| json!([row["output"], row["ended"]])).collect();
    assert_eq!(
        json!(ended),
        json!([
            ["fine", "stop"],
            ["a piece", "length"],
            ["a piece", "length"],
            ["half a", "content_filter"],
            ["I will \u{1b}not", "refusal"],
        ])
    );
    assert_eq!(place.rejected("r").len(), 1);
}

#[test]
fn a_cut_reply_is_asked_for_once_more_with_more_tokens_and_both_are_kept() {
    let section = |tag: &str| {
        format!(
            "[[stage]]\nname = \"answer\"\nop = \"extract_section\"\ntag = \"{tag}\"\ninto = \"answer\"\n"
        )
    };
    let place = Place::new(&["fine", "long", "endless"], "on_length = \"retry\"", "");
    let server = obedient();
    let tokens = |server: &ChatServer, name: &str| {
        let mut asked: Vec<(String, u64)> = server
            .chats()
            .iter()
            .map(|asked| (prompt_of(asked).to_owned(), asked[name].as_u64().unwrap()))
            .collect();
        asked.sort();
        asked
    };
    place.run(&server, "r", 0);
    let expected = [("endless", 100), ("endless", 200), ("fine", 100), ("long", 100), ("long", 200)];
    assert_eq!(tokens(&server, "max_tokens"), expected.map(|(prompt, tokens)| (prompt.to_owned(), tokens)));
    assert_eq!(of(&place.table("r", "dataset"), "output"), ["fine", "all of it"]);
    assert_eq!(
        place.rejected("r"),
        [["endless", "finish_reason_length", "the reply was cut by the token limit after 6 tokens"]]
    );
    // What all rounds cost is counted.
    let file: Value = serde_json::from_slice(&fs::read(place.path("r/run.json")).unwrap()).unwrap();
    assert_eq!(file["counts"]["ask.reply"]["python"]["prompt_tokens"], 50);
    assert_eq!(place.table("r", "replies").len(), 5);
    // The step is done again, and every round is found in the journal.
    place.pipeline("on_length = \"retry\"", &section("a"));
    place.run(&server, "r", 0);
    assert_eq!(server.asked(), 5);
    // An extra field of that meaning is what the endpoint goes by.
    place.pipeline("on_length = \"retry\"\nretry_max_tokens = 150", "");
    let mut command = place.ask(&server, "s", "");
    said(&command.args(["--extra-body", "{\"max_completion_tokens\": 100}"]).output().unwrap(), 0);
    let asked: Vec<Value> =
        server.chats()[5..].iter().map(|asked| asked["max_completion_tokens"].clone()).collect();
    assert_eq!(asked.iter().filter(|tokens| **tokens == 150).count(), 2, "{asked:?}");
    assert_eq!(of(&place.table("s", "dataset"), "output"), ["fine", "all of it"]);
}

#[test]
fn reasoning_has_its_own_column_wherever_it_comes_from() {
    let texts = ["apart", "tagged", "closing", "none", "endless"];
    let reasoner = ChatServer::new(Duration::ZERO, |asked, _| {
        let message = match prompt_of(asked) {
            "apart" => json!({"content": "yes", "reasoning_content": "hm <think>"}),
            "tagged" => content("<think>\nhm\n</think>\n\nyes"),
            "closing" => content("hm</think>yes"),
            "endless" => content("<think> and so on"),
            _ => content("yes"),
        };
        choices(&[message], "stop")
    });
    let place = Place::new(&texts, "reasoning_into = \"why\"", "");
    place.run(&reasoner, "r", 0);
    let parts = |out: &str| -> Vec<Value> {
        place.table(out, "dataset").iter().map(|row| json!([row["output"], row.get("why")])).collect()
    };
    assert_eq!(
        json!(parts("r")),
        json!([["yes", "hm <think>"], ["yes", "hm"], ["hm</think>yes", null], ["yes", null]])
    );
    assert_eq!(place.rejected("r"), [["endless", "empty_reply", "the reply has no text"]]);
    // The journal has replies as they came: another reading costs nothing.
    place.pipeline("reasoning_into = \"why\"\nthinking = \"closed\"", "");
    place.run(&reasoner, "r", 0);
    assert_eq!(parts("r")[2], json!(["yes", "hm"]));
    place.pipeline("thinking = \"kept\"", "");
    place.run(&reasoner, "r", 0);
    assert_eq!(parts("r")[1], json!(["<think>\nhm\n</think>\n\nyes", null]));
    assert_eq!(reasoner.asked(), 5);
    assert!(of(&place.table("r", "replies"), "reasoning").contains(&&json!("hm <think>")));
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_asked() {
    let place = Place::new(&["x"], "", "");
    let server = obedient();
    let cases = [
        ("samples = 0", "`samples` is 0"),
        ("samples = 4\ntemperature = 0.0", "at temperature 0 are 4 times the same reply"),
        ("on_length = \"retry\"\nretry_max_tokens = 100", "`retry_max_tokens` is 100, `max_tokens` 100"),
        ("retry_max_tokens = 100", "`on_length` is not \"retry\""),
        ("on_length = \"again\"", "again"),
        ("response_format = \"json_schema\"", "there is no `json_schema`"),
        ("json_schema = \"{\"", "`json_schema` is not JSON"),
        (
            "json_schema = { properties = { a = { not = {} } } }",
            "at /properties/a: the keyword `not` is not supported",
        ),
        ("thinking = \"loud\"", "loud"),
        ("reasoning_into = \"output\"", "the column `output` is another"),
        ("reasoning_into = \"a\"\nfinish_reason_into = \"a\"", "the column `a` is another"),
    ];
    for (keys, why) in cases {
        place.pipeline(keys, "");
        let said = place.run(&server, "r", 2);
        assert!(
            said.contains("stage `ask.reply`") && said.contains(why) && said.contains("hint: "),
            "{keys}: {said}"
        );
    }
    assert_eq!(server.asked(), 0);
}
