//! Several replies to one prompt: one call where the endpoint can, only what is missing, rows that add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const THREE: &str = "samples = 3";
const SECTION: &str =
    "[[stage]]\nname = \"answer\"\nop = \"extract_section\"\ntag = \"a\"\ninto = \"answer\"\n";

/// How many replies a chat request asks for.
fn wanted(asked: &Value) -> usize {
    asked.get("n").map_or(1, |n| n.as_u64().unwrap() as usize)
}

fn sections(prompt: &str, count: usize) -> Vec<Value> {
    vec![content(&format!("<a>{prompt}</a>")); count]
}

/// An endpoint that gives as many choices as it is asked for.
fn generous() -> ChatServer {
    ChatServer::new(Duration::ZERO, |asked, _| choices(&sections(prompt_of(asked), wanted(asked)), "stop"))
}

#[test]
fn samples_cost_one_call_and_become_children_of_their_row() {
    // Every third reply of a prompt lacks its section.
    let place = Place::new(&["x", "y"], THREE, SECTION);
    let server = ChatServer::new(Duration::ZERO, |asked, _| {
        let mut replies = sections(prompt_of(asked), wanted(asked));
        replies[2] = content("no section");
        choices(&replies, "stop")
    });
    let said = place.run(&server, "r", 0);
    assert_eq!(server.chats().iter().map(wanted).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(place.counts("r", "ask.reply"), [2, 4, 6, 0, 0]);
    assert_eq!(place.counts("r", "answer"), [6, 0, 4, 2, 0]);
    let parents = [row_id("python", "x", 0), row_id("python", "y", 0)];
    let rows = place.table("r", "dataset");
    let expected: Vec<Value> =
        parents.iter().flat_map(|id| (0..2).map(move |n| json!([format!("{id}.{n}"), id, n]))).collect();
    let found: Vec<Value> =
        rows.iter().map(|row| json!([row["id"], row["parent_id"], row["sample"]])).collect();
    assert_eq!(found, expected);
    assert_eq!(of(&rows, "answer"), ["x", "x", "y", "y"]);
    assert_eq!(place.table("r", "rejected")[0]["id"], format!("{}.2", parents[0]));
    // The prompt is paid once, and the tokens of all replies are there.
    let replies = place.table("r", "replies");
    let sum = |name: &str| of(&replies, name).iter().map(|tokens| tokens.as_u64().unwrap()).sum::<u64>();
    assert_eq!((replies.len(), sum("prompt_tokens"), sum("completion_tokens")), (6, 20, 36));
    let stages = records(&place.path("r/stages.parquet"));
    assert_eq!(stages[1]["spawned"], 4);
    for word in ["spawned", "ask.reply     2         4      6", "66.7 %"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let again = place.run(&server, "r", 0);
    assert!(again.contains("66.7 %"), "{again}");
    assert_eq!(server.asked(), 2);
}

#[test]
fn more_samples_ask_for_those_that_are_missing() {
    let place = Place::new(&["x", "y"], "samples = 2", SECTION);
    let server = generous();
    place.run(&server, "r", 0);
    place.pipeline("samples = 5", SECTION);
    place.run(&server, "r", 0);
    assert_eq!(server.chats().iter().map(wanted).collect::<Vec<_>>(), [2, 2, 3, 3]);
    assert_eq!(place.table("r", "dataset").len(), 10);
    // Fewer are a part of what there is.
    place.pipeline(THREE, SECTION);
    place.run(&server, "r", 0);
    assert_eq!((server.asked(), place.table("r", "dataset").len()), (4, 6));
}

#[test]
fn endpoints_without_n_are_asked_again_and_again() {
    let straight = Place::new(&["x", "y", "z"], THREE, SECTION);
    straight.run(&generous(), "r", 0);
    // One takes no notice of it, another refuses it (once for every row begun), the third gives two at most.
    let ignores = ChatServer::new(Duration::ZERO, |asked, _| choices(&sections(prompt_of(asked), 1), "stop"));
    let refuses = ChatServer::new(Duration::ZERO, |asked, _| match asked.get("n") {
        Some(_) => (400, json!({"error": {"message": "n must be 1"}}).to_string()),
        None => choices(&sections(prompt_of(asked), 1), "stop"),
    });
    let meagre = ChatServer::new(Duration::ZERO, |asked, _| {
        choices(&sections(prompt_of(asked), wanted(asked).min(2)), "stop")
    });
    for (server, out, calls) in [(&ignores, "i", 9), (&refuses, "f", 12), (&meagre, "m", 6)] {
        let output = straight.ask(server, out, "--in-flight 1").output().unwrap();
        said(&output, 0);
        assert_eq!(server.asked(), calls, "{out}");
        assert_eq!(straight.dataset(out), straight.dataset("r"), "{out}");
    }
    // A request that is refused for itself is no reason to give up on `n`.
    let picky = ChatServer::new(Duration::ZERO, |asked, _| match prompt_of(asked) {
        "x" => (400, json!({"error": {"message": "I do not like x"}}).to_string()),
        prompt => choices(&sections(prompt, wanted(asked)), "stop"),
    });
    said(&straight.ask(&picky, "p", "--in-flight 1").output().unwrap(), 1);
    let mut asked: Vec<_> = picky.chats().iter().map(wanted).collect();
    // The plain request of x queues behind those of the other rows.
    asked.sort_unstable();
    assert_eq!(asked, [1, 3, 3, 3]);
    assert_eq!(straight.counts("p", "ask.reply"), [3, 4, 6, 0, 1]);
}

#[test]
fn a_row_that_lacks_a_sample_waits_as_a_whole_and_only_that_one_is_asked_for() {
    let place = Place::new(&["x", "y"], THREE, SECTION);
    place.run(&generous(), "straight", 0);
    // For x two of three, then nothing.
    let asked_for_x = Arc::new(AtomicUsize::new(0));
    let seen = asked_for_x.clone();
    let failing = ChatServer::new(Duration::ZERO, move |asked, _| {
        let prompt = prompt_of(asked);
        match prompt == "x" && seen.fetch_add(1, Ordering::SeqCst) > 0 {
            true => (500, String::new()),
            false => choices(&sections(prompt, wanted(asked).min(2)), "stop"),
        }
    });
    let said = place.run(&failing, "r", 1);
    assert!(said.contains("1 rows are pending"), "{said}");
    assert_eq!(place.counts("r", "ask.reply"), [2, 2, 3, 0, 1]);
    assert_eq!(of(&place.table("r", "dataset"), "answer"), ["y"; 3]);
    let server = generous();
    place.run(&server, "r", 0);
    assert_eq!(
        server.chats().iter().map(|asked| (prompt_of(asked).to_owned(), wanted(asked))).collect::<Vec<_>>(),
        [("x".into(), 1)]
    );
    assert_eq!(place.dataset("r"), place.dataset("straight"));
}

#[test]
fn a_killed_run_asks_only_for_samples_it_does_not_have() {
    let texts: Vec<String> = (0..12).map(|n| format!("text {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let place = Place::new(&texts, THREE, SECTION);
    place.run(&generous(), "straight", 0);
    let single = || {
        ChatServer::new(Duration::from_millis(20), |asked, _| choices(&sections(prompt_of(asked), 1), "stop"))
    };
    for kill_at in [3, 11, 25] {
        let out = format!("killed-{kill_at}");
        let first = single();
        let mut child = place
            .ask(&first, &out, "--in-flight 2")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while first.asked() < kill_at {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (before, second) = (first.asked(), single());
        said(&place.ask(&second, &out, "--in-flight 8").output().unwrap(), 0);
        let all = before + second.asked();
        assert!((36..=38).contains(&all), "{before} and {} of 36 asked, 2 were in flight", second.asked());
        assert_eq!(place.dataset(&out), place.dataset("straight"));
    }
}

#[test]
fn equal_prompts_share_their_samples_and_a_seed_makes_each_its_own_request() {
    let place = Place::new(&["x", "y"], THREE, SECTION);
    place.write("templates/ask/python.txt", "the same");
    let server = generous();
    place.run(&server, "r", 0);
    assert_eq!((server.asked(), place.table("r", "dataset").len()), (1, 6));
    // With one sampling seed, all replies would be one reply.
    said(&place.ask(&server, "s", "--seed 7").output().unwrap(), 0);
    let mut seeds: Vec<u64> =
        server.chats()[1..].iter().map(|asked| asked["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [7, 8, 9]);
}

#[test]
fn samples_of_samples_prompts_on_the_way_out_and_stage_by_stage() {
    let second = "[[stage]]\nname = \"more.prompt\"\nop = \"prompt\"\ntemplate = \"more\"\n\
                  [[stage]]\nname = \"more.reply\"\nop = \"model\"\nsamples = 2\n";
    let place = Place::new(&["x", "y"], THREE, &format!("{SECTION}{second}"));
    fs::create_dir_all(place.path("templates/more")).unwrap();
    place.write("templates/more/python.txt", "more of {{ answer }}");
    let server = generous();
    let explained = said(&place.command("explain ask.toml --templates templates").output().unwrap(), 0);
    assert!(explained.contains("3 model, 3 rows") && explained.contains("parent_id"), "{explained}");
    let dry = place.ask(&server, "none", "--dry-run").output().unwrap();
    let dry = said(&dry, 0);
    assert!(
        dry.contains("ask.reply            6 model") && dry.contains("more.reply           12 model"),
        "{dry}"
    );
    place.run(&server, "r", 0);
    assert_eq!(place.counts("r", "more.reply"), [6, 6, 12, 0, 0]);
    // The children of one row ask the same, and are answered by the same two replies.
    assert_eq!(server.chats().iter().map(wanted).collect::<Vec<_>>(), [3, 3, 2, 2]);
    let rows = place.table("r", "dataset");
    let x = row_id("python", "x", 0);
    assert_eq!(
        (rows[1]["id"].clone(), rows[1]["parent_id"].clone()),
        (json!(format!("{x}.0.1")), json!(format!("{x}.0")))
    );

    let export = "export --run r --format jsonl --out all.jsonl --with-prompts";
    said(&place.command(export).output().unwrap(), 0);
    let exported = records(&place.path("all.jsonl"));
    assert_eq!(of(&exported, "id"), of(&rows, "id"));
    for row in &exported {
        assert_eq!(row["ask_messages"][0]["content"], row["text"]);
        assert_eq!(row["more_messages"][0]["content"], format!("more of {}", row["text"].as_str().unwrap()));
    }

    let stage = |args: &str| {
        said(
            &place
                .command(&format!("stage {args} --pipeline ask.toml --templates templates"))
                .output()
                .unwrap(),
            0,
        )
    };
    stage("ask.prompt --in seeds.jsonl --out messages.jsonl");
    let asked = stage(&format!(
        "ask.reply --in messages.jsonl --out output.jsonl --model m --base-url {}",
        server.base_url
    ));
    assert!(asked.contains("ask.reply: 2 in, 4 spawned, 6 kept"), "{asked}");
    stage("answer --in output.jsonl --out answers.jsonl");
    let answers = records(&place.path("answers.jsonl"));
    assert_eq!(of(&answers, "answer"), ["x", "x", "x", "y", "y", "y"]);
    assert_eq!(of(&answers, "sample"), [0, 1, 2, 0, 1, 2]);
}
