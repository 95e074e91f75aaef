//! What is printed: help with examples, data on stdout and messages on stderr, plans, and nothing that drives a terminal.

use super::*;

const COMMANDS: [&str; 26] = [
    "run",
    "estimate",
    "evaluate",
    "compare",
    "benchmark",
    "benchmark lite",
    "benchmark complete",
    "models",
    "cache",
    "cache ls",
    "cache prune",
    "explain",
    "stage",
    "sandbox",
    "sandbox exec",
    "requests",
    "requests export",
    "requests import",
    "replay",
    "replay serve",
    "doctor",
    "query",
    "report",
    "view",
    "export",
    "",
];

#[test]
fn every_help_has_an_example() {
    let place = Place::new();
    for command in COMMANDS {
        let help = place.run(&format!("{command} --help"));
        assert_eq!(help.code, 0, "{help:#?}");
        assert!(help.stderr.is_empty(), "{help:#?}");
        let (_, examples) =
            help.stdout.split_once("Example").unwrap_or_else(|| panic!("no example: {help:#?}"));
        assert!(
            examples.contains(&format!("autocodegen {}", command.split(' ').next().unwrap())),
            "{examples}"
        );
    }
    // No command is missing above.
    let help = place.run("--help").stdout;
    let listed = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        assert!(name == "help" || COMMANDS.contains(&name), "{name} has no test");
    }
}

#[test]
fn explain_prints_the_plan() {
    let place = Place::new();
    let explained = place.run("explain");
    assert_eq!((explained.code, explained.stderr.as_str()), (0, ""));
    insta::with_settings!({filters => vec![(r"\b[0-9a-f]{12}\b", "[fingerprint]")]}, {
        insta::assert_snapshot!(explained.stdout);
    });
    assert_eq!(
        explained.stdout,
        place.run("explain synthesize").stdout,
        "fingerprints differ from run to run"
    );
    let hotter = place.run("explain --temperature 0.7").stdout;
    assert_ne!(explained.stdout, hotter, "a setting that changes replies does not show in the fingerprints");
}

#[test]
fn data_goes_to_stdout_and_messages_to_stderr() {
    let place = Place::new();
    let server = willing();
    let run = place.ask(&server, "run ask.toml --seeds seeds.jsonl --out r");
    run.says(0, &["ask.reply 2/2"]);
    assert!(run.stdout.contains("rejected because") && run.stdout.contains("pass rate"), "{run:#?}");
    assert!(!run.stdout.contains("in flight"), "{run:#?}");
    let quiet = place.ask(&server, "run ask.toml --seeds seeds.jsonl --out q --quiet");
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let failed = place.ask(&server, "run nothing --out n");
    assert_eq!((failed.code, failed.stdout.as_str()), (2, ""));
}

#[test]
fn a_dry_run_says_what_would_be_asked_and_sends_nothing() {
    let place = Place::new();
    let server = willing();
    place.write("seeds.jsonl", seed("x = 1") + &seed("x = 1") + &seed("y = 2") + "{oops\n");
    let dry = place.ask(&server, "run --seeds seeds.jsonl --dry-run --out r");
    dry.says(
        0,
        &["2 seeds from 1 files", "1 exact repeats dropped, 1 rejected (malformed_json 1); nothing was sent"],
    );
    assert!(!place.path("r").exists());
    assert_eq!(server.asked(), 0);
    let row = dry.stdout.lines().find(|line| line.trim_start().starts_with("python")).unwrap();
    let numbers: Vec<u64> = row.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect();
    assert_eq!((numbers[0], numbers[2]), (2, 0), "{row}");
    for (stage, sum) in
        [("solution.reply", "2 model"), ("probe", "4 programs"), ("question.reply", "2 model")]
    {
        let line = dry.stdout.lines().find(|line| line.trim_start().starts_with(stage)).unwrap();
        assert!(line.contains(sum), "{line}");
    }
    // The characters told are those a run sends.
    place.ask(&server, "run ask.toml --seeds seeds.jsonl --out r").says(0, &[]);
    let chats = server.chats();
    let sent = chats.iter().flat_map(|asked| asked["messages"].as_array().unwrap());
    let characters: usize = sent.map(|message| message["content"].as_str().unwrap().chars().count()).sum();
    assert_eq!(numbers[1], characters as u64);
    // The body is shown as JSON.
    let shown = |prompt: &&str| dry.stdout.contains(&serde_json::to_string(prompt).unwrap());
    let first = chats.iter().map(chat_server::prompt_of).find(shown);
    assert!(first.is_some(), "the prompt shown is none that a run sends");
}

#[test]
fn hostile_text_never_drives_the_terminal() {
    let place = Place::new();
    let evil = "\u{202e}\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\u{8}\u{0}";
    let line = |text: String, language: &str| {
        serde_json::json!({"text": text, "language": language, format!("c{evil}"): evil}).to_string() + "\n"
    };
    let seeds = line(format!("# {evil}"), "python") + &line("y".into(), evil) + &line("z".into(), "python");
    let name = "\u{1b}[31mred.jsonl";
    place.write(name, seeds + &format!("{{\"{evil}\n"));
    let server = ChatServer::new(Duration::ZERO, move |asked, _| {
        if chat_server::prompt_of(asked).contains("owned") {
            return (400, format!("no: {evil}"));
        }
        let body = serde_json::json!({
            "model": evil,
            "choices": [{"message": {"content": evil}, "finish_reason": evil}],
        });
        (200, body.to_string())
    });
    let harmless = |run: &Ended| {
        for text in [&run.stdout, &run.stderr] {
            let raw =
                text.chars().find(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || *c == '\u{202e}');
            assert_eq!(raw, None, "{run:#?}");
        }
    };
    let with = |args: &str, last: &str| {
        let mut command = place.command(args);
        ended(command.arg(last).env("AUTOCODEGEN_LOG", "debug").output().unwrap())
    };
    let model = format!("--model m --base-url {}", server.base_url);
    let run = with(&format!("run ask.toml {model} --out r --seeds"), name);
    run.says(1, &["pending: 1 row", "no: "]);
    harmless(&run);
    assert_eq!(server.asked(), 2);
    let dry = with(&format!("run --dry-run {model} --seeds"), name);
    assert!(dry.stdout.contains("owned"), "the first prompt is not shown: {dry:#?}");
    harmless(&dry);
    let columns = with("stage probe --out o.jsonl --in", name);
    columns.says(2, &[]);
    harmless(&columns);
    place.write("evil.toml", format!("name = \"{evil}\"\n"));
    for (args, last) in
        [("run --out r --seeds", "\u{1b}[31mnowhere"), ("run", evil_name()), ("explain", "evil.toml")]
    {
        let run = with(args, last);
        assert_eq!(run.code, 2, "{run:#?}");
        harmless(&run);
    }
    place.write("messages.jsonl", line("z".into(), "python"));
    let stage =
        with(&format!("stage solution.prompt,solution.reply --in messages.jsonl {model} --out"), "o.jsonl");
    stage.says(0, &["finish_reason_"]);
    harmless(&stage);
}

/// A pipeline's name that no argument parser refuses.
fn evil_name() -> &'static str {
    "\u{1b}[2Jpipeline"
}
