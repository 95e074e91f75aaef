//! Every language file: its keys, its names, and what its probes must come to.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::LimitOverrides;
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{LocalSandbox, Options};

const MINIMAL: &str = r#"
name = "toy"
file_name = "toy.txt"
run = ["{cat}", "{file}"]
[toolchain]
version = ["{cat}", "--version"]
[toolchain.programs.cat]
install = { apt = "coreutils" }
[probe]
passing = { source = "", outcome = "PASSED" }
failing = { source = "", outcome = "WRONG_ANSWER" }
crashing = { source = "", outcome = "RUNTIME_ERROR" }
looping = { source = "", outcome = "TIME_LIMIT_EXCEEDED" }
"#;

fn toy(change: &str, to: &str) -> Result<Language, String> {
    assert!(MINIMAL.contains(change));
    Language::parse("toy.toml", &MINIMAL.replacen(change, to, 1)).map_err(|error| error.to_string())
}

#[test]
fn languages_are_found_by_name_alias_and_extension() {
    let languages = Languages::embedded().unwrap();
    for (name, aliases) in [
        ("python", ["py", "python3"]),
        ("cpp", ["c++", " C++ "]),
        ("java", ["Java", "java"]),
        ("javascript", ["js", "JavaScript"]),
        ("go", ["golang", "go"]),
        ("shell", ["bash", "sh"]),
    ] {
        for alias in aliases {
            assert_eq!(languages.get(alias).unwrap().name, name);
        }
    }
    assert_eq!(languages.by_extension("PY").unwrap().name, "python");
    assert!(languages.get("klingon").is_none() && languages.by_extension("xyz").is_none());
    assert!(languages.require("klingon").unwrap_err().hint_text().unwrap().contains("python"));
}

#[test]
fn a_file_is_named_after_its_language() {
    for entry in std::fs::read_dir("data/languages").unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let language = Language::parse(path.to_str().unwrap(), &text).unwrap();
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), language.name);
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_key() {
    assert!(toy("name", "name").is_ok());
    for (change, to, expected) in [
        ("run =", "runs =", "unknown field `runs`"),
        ("run = [\"{cat}\", \"{file}\"]", "", "missing field `run`"),
        ("run = [\"{cat}\", \"{file}\"]", "run = []", "key `run`"),
        ("run = [\"{cat}\"", "run = [\"{dog}\"", "{dog}"),
        ("\"{cat}\", \"--version\"", "\"{bat}\"", "key `toolchain.version`: {bat}"),
        ("name = \"toy\"", "name = \"Toy\"", "lower case"),
        ("name = \"toy\"", "name = 7", "name"),
        ("\"toy.txt\"", "\"../toy.txt\"", "key `file_name`"),
        ("file_name", "splice = \"glue\"\nfile_name", "key `splice`"),
        ("apt", "brew", "brew"),
        ("\"PASSED\"", "\"FINE\"", "FINE"),
        ("[toolchain]", "[limits]\nmemory = 3\n[toolchain]", "memory"),
        ("[toolchain]", "[toolchain", "toolchain"),
    ] {
        let error = toy(change, to).unwrap_err();
        assert!(error.starts_with("toy.toml: ") && error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn two_languages_cannot_share_a_name_or_an_extension() {
    let one = toy("name", "aliases = [\"both\"]\nname").unwrap();
    let mut other = toy("\"toy\"", "\"tin\"").unwrap();
    assert!(Languages::new(vec![one.clone(), other.clone()]).is_ok());
    other.aliases = vec!["both".to_owned()];
    let error = Languages::new(vec![one.clone(), other.clone()]).unwrap_err().to_string();
    assert!(error.contains("\"both\"") && error.contains("tin") && error.contains("toy"), "{error}");
    other.aliases.clear();
    let extension = |language: &Language| Language { extensions: vec!["t".to_owned()], ..language.clone() };
    let error = Languages::new(vec![extension(&one), extension(&other)]).unwrap_err().to_string();
    assert!(error.contains("extension \"t\""), "{error}");
}

#[test]
fn the_extra_seconds_come_on_top_of_the_callers_timeout() {
    let slow = toy("name", "extra_seconds = 3\nlimits = { pids = 9, cpu_ms = 7000 }\nname").unwrap();
    let limits = slow.limits_for(&LimitOverrides::default());
    assert_eq!((limits.cpu_ms, limits.pids, limits.memory_bytes), (10_000, 9, 1 << 30));
    assert!(limits.wall_ms > limits.cpu_ms);
    let asked =
        LimitOverrides { cpu_ms: Some(30_000), pids: Some(5), wall_ms: Some(1), ..LimitOverrides::default() };
    let limits = slow.limits_for(&asked);
    assert_eq!((limits.cpu_ms, limits.pids, limits.wall_ms), (33_000, 5, 1));
    let plain = toy("name", "name").unwrap();
    assert_eq!(plain.limits_for(&LimitOverrides::default()).cpu_ms, 5000);
}

/// The probes of every language, in jails.
#[tokio::test(flavor = "multi_thread")]
async fn probes_come_to_what_their_files_say() {
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    let sandbox = match LocalSandbox::start(options) {
        Ok(sandbox) => sandbox,
        Err(error) => return common::skip("probes", &error.to_string()),
    };
    for language in Languages::embedded().unwrap().iter() {
        for (name, probe) in language.probe.iter() {
            let job = probe.job(language);
            match sandbox.run(&job).await {
                Ok(verdict) => {
                    assert_eq!(verdict.outcome, probe.outcome, "{} {name}: {verdict:#?}", language.name)
                }
                Err(fault) if fault.cause == "toolchain_missing" => {
                    common::skip(&format!("{} {name}", language.name), &fault.message);
                }
                Err(fault) => panic!("{} {name}: {fault}", language.name),
            }
        }
    }
}
