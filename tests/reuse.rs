//! What a compile step made is used again for the same step, and for no other; the verdicts are those of compiling
//! each time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::path::Path;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use futures::future::join_all;

fn sandbox(reuse_bytes: Option<u64>) -> LocalSandbox {
    let launcher = Some(Path::new(env!("CARGO_BIN_EXE_autocodegen")).to_owned());
    LocalSandbox::start(Options { launcher, reuse_bytes, ..Options::default() }).unwrap()
}

/// Says so when the language's toolchain is not here.
fn lacks(language: &str) -> bool {
    let languages = Languages::embedded().unwrap();
    let found = toolchain::find(languages.get(language).unwrap());
    if let Err(missing) = &found {
        common::skip(language, &missing.to_string());
    }
    found.is_err()
}

fn job(language: &str, source: &str, stdin: &str) -> Job {
    Job {
        language: language.to_owned(),
        source: source.to_owned(),
        stdin: stdin.to_owned(),
        ..Job::default()
    }
}

/// Runs a job that must pass.
async fn passes(sandbox: &LocalSandbox, job: &Job) -> Verdict {
    let verdict = sandbox.run(job).await.unwrap();
    assert_eq!(verdict.outcome, Outcome::Passed, "{verdict:?}");
    verdict
}

/// What does not depend on time, which test frameworks tell in their output.
fn essence(verdict: &Verdict) -> impl PartialEq + std::fmt::Debug {
    let untimed = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let Verdict { outcome, stdout, stderr, compile_message, reason, exit_code, signal, .. } = verdict.clone();
    (outcome, untimed(&stdout), untimed(&stderr), compile_message, reason, exit_code, signal)
}

const DOUBLES: [(&str, &str); 4] = [
    ("cpp", "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n << std::endl; }"),
    (
        "rust",
        "fn main() {\n    let mut line = String::new();\n    std::io::stdin().read_line(&mut line).unwrap();\n    \
         println!(\"{}\", 2 * line.trim().parse::<i32>().unwrap());\n}",
    ),
    (
        "go",
        "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tvar n int\n\tfmt.Scan(&n)\n\tfmt.Println(2 * n)\n}",
    ),
    (
        "java",
        "import java.util.Scanner;\npublic class Main {\n    public static void main(String[] args) {\n        \
         System.out.println(2 * new Scanner(System.in).nextInt());\n    }\n}",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_ten_inputs_is_compiled_once() {
    let sandbox = sandbox(None);
    for (language, source) in DOUBLES {
        if lacks(language) {
            continue;
        }
        let jobs: Vec<_> = (0..10).map(|n| job(language, source, &n.to_string())).collect();
        let verdicts = join_all(jobs.iter().map(|job| passes(&sandbox, job))).await;
        for (n, verdict) in verdicts.iter().enumerate() {
            assert_eq!(verdict.stdout, format!("{}\n", 2 * n), "{language}");
            assert_eq!(verdict.compile_usage, verdicts[0].compile_usage, "{language}");
        }
        let compiled = verdicts.iter().filter(|verdict| !verdict.compile_reused).count();
        assert_eq!(compiled, 1, "{language}");
        // What the compiler made weighs on no run.
        let peak = |reused| {
            let of_kind = verdicts.iter().filter(|verdict| verdict.compile_reused == reused);
            of_kind.map(|verdict| verdict.usage.peak_rss_bytes).min().unwrap()
        };
        assert!(peak(true).abs_diff(peak(false)) < 2 << 20, "{language}: {} {}", peak(true), peak(false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reused_programs_get_the_verdicts_of_compiled_ones() {
    let sandbox = sandbox(None);
    let languages = Languages::embedded().unwrap();
    for language in languages.iter().filter(|language| language.compile.is_some() && language.installable) {
        if lacks(&language.name) {
            continue;
        }
        for (name, probe) in language.probe.iter().filter(|(name, _)| ["passing", "failing"].contains(name)) {
            let job = probe.job(language);
            let [first, second] = [sandbox.run(&job).await.unwrap(), sandbox.run(&job).await.unwrap()];
            assert_eq!(essence(&first), essence(&second), "{} {name}", language.name);
            assert_eq!(
                (first.compile_reused, second.compile_reused),
                (false, true),
                "{} {name}",
                language.name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shared_by_steps_that_differ_in_anything() {
    let (sandbox, other) = (sandbox(None), sandbox(None));
    let first = job("c", "int main(void) { return 0; }", "");
    let passing = Job { tests: Some("int main(void) { return 0; }".to_owned()), ..job("c", "int a;", "") };
    let limits = |limits| Job { limits, ..first.clone() };
    let different = [
        first.clone(),
        Job { source: format!("{} ", first.source), ..first.clone() },
        Job { language: "cpp".to_owned(), ..first.clone() },
        limits(LimitOverrides { memory_bytes: Some(500 << 20), ..LimitOverrides::default() }),
        limits(LimitOverrides { cpu_ms: Some(9000), ..LimitOverrides::default() }),
        passing.clone(),
        Job { strict: true, ..passing },
    ];
    for job in &different {
        assert!(!passes(&sandbox, job).await.compile_reused, "{job:?}");
    }
    for job in &different {
        assert!(passes(&sandbox, job).await.compile_reused, "{job:?}");
    }
    // Repeated runs are to show whether compiling is flaky, too.
    for variation in [1, 1, 2] {
        assert!(!passes(&sandbox, &Job { variation, ..first.clone() }).await.compile_reused);
    }
    // Another sandbox starts with nothing.
    assert!(!passes(&other, &first).await.compile_reused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_overwrites_itself_harms_no_later_run() {
    let sandbox = sandbox(None);
    let source = r##"
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <sys/stat.h>
int main() {
    std::string word;
    std::cin >> word;
    std::cout << word;
    for (const auto &entry : std::filesystem::directory_iterator(".")) std::cout << " " << entry.path();
    std::cout << std::endl;
    if (word == "spoil") {
        for (const auto &entry : std::filesystem::directory_iterator(".")) {
            auto name = entry.path();
            std::filesystem::remove(name);
            std::ofstream(name) << "#!/bin/sh\necho spoilt\n";
            chmod(name.c_str(), 0777);
        }
    }
}"##;
    let listed = passes(&sandbox, &job("cpp", &format!("{source}\n"), "list")).await.stdout;
    assert!(listed.contains("\"./test\"") && listed.contains("\"./test.cpp\""), "{listed}");
    for (word, reused) in [("spoil", false), ("say", true), ("spoil", true), ("say", true)] {
        let verdict = passes(&sandbox, &job("cpp", source, word)).await;
        assert_eq!((verdict.stdout, verdict.compile_reused), (listed.replace("list", word), reused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_compiling_decides_about_its_own_program_only() {
    let sandbox = sandbox(None);
    // What the compiler reads changes all the time: the same step keeps what it read, another reads anew.
    let reads = r#"fn main() { print!("{}", include_str!("/proc/sys/kernel/random/uuid")); }"#;
    let [first, again, other] =
        [reads.to_owned(), reads.to_owned(), format!("{reads}\n")].map(|source| job("rust", &source, ""));
    let first = passes(&sandbox, &first).await.stdout;
    assert_eq!(passes(&sandbox, &again).await.stdout, first);
    assert_ne!(passes(&sandbox, &other).await.stdout, first);

    if lacks("haskell") {
        return;
    }
    // Code that runs while compiling spoils all it can reach, and leaves programs and sources of its own.
    let hostile = r#"{-# LANGUAGE TemplateHaskell #-}
import Language.Haskell.TH.Syntax
import Control.Exception
import Control.Monad
import System.Directory

main :: IO ()
main = $(do
    runIO $ forM_ ["test", "test.hs", "../work/test", "/tmp/test", "/dev/shm/test", "/warm/test", "Main.hi"] $ \name ->
        (try (writeFile name "main = putStrLn \"spoilt\"") :: IO (Either IOException ()))
    [| putStrLn "hostile" |])
"#;
    let honest = "main :: IO ()\nmain = putStrLn \"honest\"\n";
    for _ in 0..2 {
        let verdict = sandbox.run(&job("haskell", hostile, "")).await.unwrap();
        assert!(["hostile\n", ""].contains(&verdict.stdout.as_str()), "{verdict:?}");
        let verdict = passes(&sandbox, &job("haskell", honest, "")).await;
        assert_eq!(verdict.stdout, "honest\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_reused_and_ends_by_a_limit_are_not() {
    let sandbox = sandbox(None);
    let wrong = job("c", "int main(void) { return nothing; }", "");
    let [first, second] = [sandbox.run(&wrong).await.unwrap(), sandbox.run(&wrong).await.unwrap()];
    assert_eq!((first.outcome, first.compile_reused), (Outcome::CompilationError, false));
    assert!(second.compile_reused && first.compile_message.contains("nothing"));
    assert_eq!(essence(&first), essence(&second));

    let limits = LimitOverrides { memory_bytes: Some(48 << 20), ..LimitOverrides::default() };
    let bomb = Job { limits, ..job("c", "#include \"/dev/zero\"\nint main(void) { return 0; }", "") };
    let both = join_all([&bomb, &bomb].map(|job| sandbox.run(job))).await;
    for verdict in both.into_iter().map(Result::unwrap) {
        assert_eq!((verdict.outcome, verdict.compile_reused), (Outcome::MemoryLimitExceeded, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_lets_the_longest_unused_go() {
    // Room for four programs of about 26 KB.
    let sandbox = sandbox(Some(120_000));
    let program = |n: usize| {
        let source = format!("char data[20000] = {{ {n} }};\nint main(void) {{ return data[1]; }}");
        job("c", &source, "")
    };
    for n in 0..8 {
        assert!(!passes(&sandbox, &program(n)).await.compile_reused);
    }
    assert!(passes(&sandbox, &program(7)).await.compile_reused);
    assert!(!passes(&sandbox, &program(0)).await.compile_reused);

    let large = "char data[100000] = { 1 };\nint main(void) { return data[1]; }";
    for _ in 0..2 {
        assert!(!passes(&sandbox, &job("c", large, "")).await.compile_reused);
    }
}
