//! Pipelines, flags and run directories that do not fit: exit code 2, what is wrong, a hint, and nothing asked.

use super::*;

#[test]
fn bad_pipelines_are_refused_by_stage_and_key() {
    let place = Place::new();
    let server = willing();
    let reply_stage = "[[stage]]\nname = \"ask.reply\"\nop = \"model\"\n";
    let extract =
        |keys: &str| ASK.replace(reply_stage, &format!("{reply_stage}\n[[stage]]\nname = \"cut\"\n{keys}"));
    let cases: Vec<(String, &[&str])> = vec![
        ("name = ".into(), &["bad.toml"]),
        ("name = \"none\"\nstage = []\n".into(), &["bad.toml", "no stage"]),
        ("name = \"none\"\n".into(), &["bad.toml", "stage"]),
        (format!("colour = 1\n{ASK}"), &["bad.toml", "unknown field `colour`"]),
        (ASK.replace("name = \"ask\"", "name = 5"), &["bad.toml", "invalid type: integer `5`"]),
        (
            ASK.replace("\"model\"", "\"oracle\""),
            &["ask.reply", "unknown operator `oracle`", "extract_blocks"],
        ),
        (ASK.replace("\"model\"", "\"model\"\nheat = 1"), &["ask.reply", "unknown field `heat`"]),
        (ASK.replace("\"model\"", "\"model\"\nmax_tokens = \"many\""), &["ask.reply", "invalid type"]),
        (ASK.replace("template = \"solution\"", ""), &["ask.prompt", "missing field `template`"]),
        (ASK.replace("\"solution\"", "\"poem\""), &["ask.prompt", "poem"]),
        (ASK.replace("ask.reply", "ask.prompt"), &["bad.toml", "two stages are called `ask.prompt`"]),
        (ASK.replace("ask.reply", "../ask"), &["bad.toml", "cannot name a stage"]),
        (ASK.replace("ask.reply", "Ask.Reply"), &["bad.toml", "cannot name a stage"]),
        (extract("op = \"extract_blocks\"\ninto = \"code\""), &["cut", "invalid type"]),
        (extract("op = \"extract_blocks\"\ninto = []"), &["cut", "names no column"]),
        (extract("op = \"extract_blocks\"\ninto = [\"a\"]\nfenced = [\"b\"]"), &["cut", "`b`"]),
        (ASK.replace(reply_stage, ""), &["stage `finished` (select)", "needs the column `output`"]),
        (
            extract("op = \"run\"\nsolution = \"canonical_solution\"\ntests = [\"t\"]"),
            &["stage `cut` (run)", "needs the column `canonical_solution`"],
        ),
    ];
    for (text, words) in cases {
        place.write("bad.toml", &text);
        place.ask(&server, "run bad.toml --seeds seeds.jsonl --out r").says(2, words);
        place.run("explain bad.toml").says(2, words);
        place.run("run bad.toml --seeds seeds.jsonl --model m --dry-run").says(2, words);
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn unknown_names_and_bad_flags_are_refused() {
    let place = Place::new();
    let server = willing();
    fs::create_dir(place.path("templates")).unwrap();
    fs::create_dir(place.path("templates/solution")).unwrap();
    place.write("templates/solution/python.txt", "{{ text }");
    for (args, words) in [
        ("run nothing --out r", &["no pipeline called `nothing`", "synthesize"][..]),
        ("run nothing.toml --out r", &["nothing.toml", "No such file"]),
        ("run ask.toml --seeds seeds.jsonl --extra-body [1] --out r", &["--extra-body", "JSON object"]),
        ("run ask.toml --seeds seeds.jsonl --extra-body {\"stream\":true} --out r", &["`stream`"]),
        ("run ask.toml --seeds seeds.jsonl --templates templates --out r", &["python.txt"]),
        ("run ask.toml --seeds seeds.jsonl --templates nowhere --out r", &["nowhere"]),
        ("run ask.toml --seeds seeds.jsonl --language klingon --out r", &["klingon"]),
        ("run ask.toml --seeds seeds.jsonl --text-column body --out r", &["`body`", "text, language"]),
        ("stage poem --in seeds.jsonl --out o.jsonl", &["no stage `poem`", "solution.prompt"]),
        ("stage probe --in seeds.jsonl --out o.jsonl", &["seeds.jsonl", "`probe`", "canonical_solution"]),
        ("stage solution.prompt --in nowhere.jsonl --out o.jsonl", &["nowhere.jsonl", "No such file"]),
    ] {
        place.ask(&server, args).says(2, words);
    }
    let bad_url = "run ask.toml --seeds seeds.jsonl --out r --model m --base-url localhost:80";
    place.run(bad_url).says(2, &["localhost:80"]);
    for usage in ["run --no-such-flag", "conjure", "", "stage --in seeds.jsonl", "run --limit many"] {
        let run = place.run(usage);
        assert_eq!(run.code, 2, "{run:#?}");
        assert!(run.stdout.is_empty() && run.stderr.contains("--help"), "{run:#?}");
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_foreign_output_folder_is_refused_and_left_alone() {
    let place = Place::new();
    let server = willing();
    fs::create_dir(place.path("mine")).unwrap();
    place.write("mine/thesis.txt", "years of work");
    place
        .ask(&server, "run ask.toml --seeds seeds.jsonl --out mine")
        .says(2, &["mine", "not a run directory"]);
    let names: Vec<_> =
        fs::read_dir(place.path("mine")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.txt"]);
    place
        .ask(&server, "run ask.toml --seeds seeds.jsonl --out ask.toml")
        .says(2, &["ask.toml", "not a directory"]);
    assert_eq!(server.asked(), 0);

    place.ask(&server, "run ask.toml --seeds seeds.jsonl --out r").says(0, &[]);
    place.write("other.toml", ASK.replace("name = \"ask\"", "name = \"other\""));
    let other = place.ask(&server, "run other.toml --seeds seeds.jsonl --out r");
    other.says(2, &["holds a run of the pipeline `ask`, not `other`", "--out"]);
    assert_eq!(server.asked(), 2, "only the good run may ask");
}

#[test]
fn a_run_that_is_open_elsewhere_is_refused() {
    let place = Place::new();
    let server = ChatServer::new(Duration::from_secs(3), |_, _| reply("late"));
    let args = format!("run ask.toml --seeds seeds.jsonl --out r --model m --base-url {}", server.base_url);
    let mut first = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while server.asked() == 0 {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended without asking");
        std::thread::sleep(Duration::from_millis(10));
    }
    place.run(&args).says(2, &["is open in process", &first.id().to_string()]);
    assert!(first.wait().unwrap().success());
    assert_eq!(server.asked(), 2);
}
