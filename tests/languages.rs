//! Every language file: its keys, its names, and what its probes must come to.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::LimitOverrides;
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::{splice, toolchain};

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
        if path.is_dir() {
            continue;
        }
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
        ("{ apt = \"coreutils\" }", "{ manual = \"https://example.org\" }", "key `installable`"),
        ("[toolchain]", "[env]\nA = \"{dog}\"\n[toolchain]", "key `env.A`: {dog}"),
        ("[toolchain]", "[completion]\n[toolchain]", "key `completion`"),
        ("[toolchain]", "[completion]\nreport = \"(\"\n[toolchain]", "unclosed group"),
        ("[probe]", "[[runtime]]\nrun = [\"{dog}\"]\n[probe]", "{dog}"),
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

/// A better runtime takes over how programs are compiled and run, and nothing else.
#[test]
fn the_best_installed_runtime_is_used() {
    let with_runtime = |program: &str| {
        let runtime = format!(
            "[[runtime]]\nrun = [\"{{{program}}}\", \"{{file}}\"]\nextra_seconds = 7\n\
             [runtime.toolchain]\nversion = [\"{{{program}}}\", \"--version\"]\n\
             [runtime.toolchain.programs.{program}]\ninstall = {{ apt = \"coreutils\" }}\n[probe]"
        );
        toy("[probe]", &runtime)
            .map(|language| Language { env: [("A".to_owned(), "b".to_owned())].into(), ..language })
            .unwrap()
    };
    let better = with_runtime("tac");
    let (runtime, toolchain) = toolchain::find(&better).unwrap();
    assert_eq!((runtime.name.as_str(), runtime.extra_seconds, runtime.env.len()), ("toy", 7, 0));
    assert!(toolchain.version.starts_with("tac"), "{toolchain:?}");
    let absent = with_runtime("no-such-program");
    let (runtime, toolchain) = toolchain::find(&absent).unwrap();
    assert_eq!((runtime.extra_seconds, runtime.env.len()), (0, 1));
    assert!(toolchain.version.starts_with("cat"), "{toolchain:?}");
}

#[test]
fn a_program_is_found_under_its_other_names_and_a_file_by_a_pattern() {
    let named = toy("install = {", "names = [\"no-such-cat\", \"tac\"]\ninstall = {").unwrap();
    let (_, toolchain) = toolchain::find(&named).unwrap();
    assert!(toolchain.substitutions["cat"].ends_with("/tac"), "{toolchain:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = |pattern: &str| {
        let path = folder.path().join(pattern);
        let needed =
            format!("[toolchain.files.lib]\npath = {path:?}\ninstall = {{ apt = \"lib\" }}\n[probe]");
        toy("[probe]", &needed).unwrap()
    };
    for name in ["lib-1.jar", "lib-2.jar"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let pattern = file("lib-*.jar");
    let (_, toolchain) = toolchain::find(&pattern).unwrap();
    assert!(toolchain.substitutions["lib"].ends_with("lib-2.jar"), "{toolchain:?}");
    let missing = toolchain::find(&file("bib-*.jar")).unwrap_err();
    assert!(missing.to_string().contains("bib-*.jar") && missing.install.len() == 2, "{missing:?}");
}

#[test]
fn what_no_package_brings_names_its_page() {
    let by_hand = toy("name = \"toy\"", "name = \"toy\"\ninstallable = false");
    assert!(by_hand.unwrap_err().contains("key `installable`"));
    let text = MINIMAL
        .replace("name = \"toy\"", "name = \"toy\"\ninstallable = false")
        .replace("{ apt = \"coreutils\" }", "{ manual = \"https://example.org\" }")
        .replace("cat", "no-such-cat");
    let language = Language::parse("toy.toml", &text).unwrap();
    let missing = toolchain::find(&language).unwrap_err();
    assert_eq!(missing.install, ["see https://example.org"]);
}

#[test]
fn completion_goes_around_the_tests() {
    let completion = "[completion]\nbefore = \"B\"\nafter = \"A\"\nreport = \"OK\"\n\
                      exits = [{ pattern = \"exit ([0-9])\", with = \"quit $1\" }]\n[toolchain]";
    let language = toy("[toolchain]", completion).unwrap();
    let completion = language.completion.as_ref().unwrap();
    assert_eq!(completion.around("x; exit 0"), "B\nx; quit 0\nA");
    assert!(completion.is_reported("all OK") && !completion.is_reported("KO"));
    assert_eq!(splice::splice(&language, "S", "T", true).source, "S\nB\nT\nA");
    assert_eq!(splice::splice(&language, "S", "T", false).source, "S\nT");
}

/// What `doctor --install` and the gate cannot install is known, so that nothing is skipped unnoticed.
#[test]
fn languages_without_packages() {
    let by_hand: Vec<String> = Languages::embedded()
        .unwrap()
        .iter()
        .filter(|language| !language.installable)
        .map(|language| language.name.clone())
        .collect();
    assert_eq!(by_hand, ["dart", "fsharp", "julia", "powershell", "swift", "vb"]);
}

/// The probes of every language, in jails.
#[tokio::test(flavor = "multi_thread")]
async fn probes_come_to_what_their_files_say() {
    let Some(sandbox) = common::sandbox("probes") else { return };
    for language in Languages::embedded().unwrap().iter() {
        for (name, probe) in language.probe.iter() {
            let job = probe.job(language);
            match sandbox.run(&job).await {
                Ok(verdict) => {
                    assert_eq!(verdict.outcome, probe.outcome, "{} {name}: {verdict:#?}", language.name)
                }
                Err(fault) if fault.cause == "toolchain_missing" && !language.installable => {}
                Err(fault) if fault.cause == "toolchain_missing" => {
                    common::skip(&format!("{} {name}", language.name), &fault.message);
                }
                Err(fault) => panic!("{} {name}: {fault}", language.name),
            }
        }
    }
}
