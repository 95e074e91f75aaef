//! Compilers that stay: the plain verdicts and messages, whatever happens to the process, and nothing of one job in
//! another.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;

/// Languages whose compilers stay.
const SERVED: [&str; 3] = ["java", "kotlin", "scala"];

fn sandbox(change: impl Fn(&mut Language)) -> LocalSandbox {
    let embedded = Languages::embedded().unwrap();
    let languages = embedded.iter().cloned().map(|mut language| {
        change(&mut language);
        language
    });
    let languages = Some(Languages::new(languages.collect()).unwrap());
    let launcher = Some(Path::new(env!("CARGO_BIN_EXE_autocodegen")).to_owned());
    // Each job is to be compiled, also what was compiled before.
    LocalSandbox::start(Options { launcher, languages, reuse_bytes: Some(0), ..Options::default() }).unwrap()
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

fn job(language: &str, source: &str) -> Job {
    Job { language: language.to_owned(), source: source.to_owned(), ..Job::default() }
}

/// Whether a process that stays compiled this: memory is told of a job's own processes only.
fn was_served(verdict: &Verdict) -> bool {
    verdict.compile_usage.unwrap().peak_rss_bytes == 0
}

fn java(body: &str) -> String {
    format!("public class Main {{ public static void main(String[] args) {{ {body} }} }}")
}

/// The compilers started by this sandbox's launcher.
fn servers(sandbox: &LocalSandbox) -> Vec<i32> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let launcher = i32::try_from(sandbox.launcher_pid()).unwrap();
    let descends = |pid: i32| std::iter::successors(Some(pid), |&pid| parent(pid)).any(|pid| pid == launcher);
    let is_server = |pid: i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("CompileServer"))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| is_server(pid) && descends(pid)).collect()
}

/// Takes javac minutes: there are 2^26 ways up to the first interface.
fn time_bomb() -> String {
    let pairs: String = (1..26)
        .map(|n| (format!("L{}, R{}", n - 1, n - 1), n))
        .map(|(above, n)| format!("interface L{n} extends {above} {{}} interface R{n} extends {above} {{}} "))
        .collect();
    let top = "interface L0 {} interface R0 {} ";
    format!("{top}{pairs}{}", java("Object o = (L25) null; abstract class C implements L25 {}"))
}

/// A constant of 2^33 characters.
fn memory_bomb() -> String {
    let doubled: String =
        (1..30).map(|n| format!("static final String S{n} = S{} + S{}; ", n - 1, n - 1)).collect();
    format!("class Text {{ static final String S0 = \"0123456789abcdef\"; {doubled} }} {}", java(""))
}

#[tokio::test]
async fn verdicts_and_messages_are_those_of_the_plain_command() {
    let (staying, plain) = (sandbox(|_| ()), sandbox(|language| language.compiler = None));
    let broken = [
        ("java", java("int n = \"a\"; undefined();")),
        ("kotlin", "val n: Int = \"a\"\nundefined()\n".to_owned()),
        ("scala", "val n: Int = \"a\"\nundefined()\n".to_owned()),
    ];
    for (name, source) in broken {
        if lacks(name) {
            continue;
        }
        let languages = Languages::embedded().unwrap();
        let probes = &languages.get(name).unwrap().probe;
        let mut jobs = vec![job(name, &source)];
        for (_, probe) in probes.iter().filter(|(kind, _)| *kind != "looping") {
            let tests = probe.tests.clone();
            jobs.push(Job { tests, strict: true, ..job(name, &probe.source) });
        }
        for job in &jobs {
            let (served, expected) = (staying.run(job).await.unwrap(), plain.run(job).await.unwrap());
            assert!(was_served(&served) && !was_served(&expected), "{name}");
            assert_eq!(served.outcome, expected.outcome, "{name}: {}", job.source);
            assert_eq!(served.compile_message, expected.compile_message);
            assert_eq!((served.stdout, served.stderr), (expected.stdout, expected.stderr));
            assert_eq!((served.exit_code, served.reason), (expected.exit_code, expected.reason));
        }
    }
}

#[tokio::test]
async fn nothing_of_one_job_is_there_for_the_next() {
    let sandbox = sandbox(|_| ());
    let pairs = [
        ("java", "class Left { static int n = 7; }".to_owned(), java("System.out.println(Left.n);")),
        ("kotlin", "class Left(val n: Int)\nval left = 7\n".to_owned(), "println(Left(1).n)\n".to_owned()),
        ("scala", "class Left(val n: Int)\nval left = 7\n".to_owned(), "println(new Left(1).n)\n".to_owned()),
    ];
    for (name, first, second) in pairs {
        if lacks(name) {
            continue;
        }
        let first = if name == "java" { format!("{first} {}", java("")) } else { first };
        assert_eq!(sandbox.run(&job(name, &first)).await.unwrap().outcome, Outcome::Passed, "{name}");
        let verdict = sandbox.run(&job(name, &second)).await.unwrap();
        assert!(was_served(&verdict));
        assert_eq!(verdict.outcome, Outcome::CompilationError, "{name}: {}", verdict.stdout);
    }
    // Nor does a compiler see what another job's jail holds, or the network.
    let peek = java("for (String s : new java.io.File(\".\").list()) System.out.print(s + \" \");");
    if !lacks("java") {
        assert_eq!(sandbox.run(&job("java", &peek)).await.unwrap().stdout.trim(), "classes Main.java");
    }
}

#[tokio::test]
async fn a_killed_compiler_changes_no_verdict() {
    if lacks("java") {
        return;
    }
    let sandbox = sandbox(|_| ());
    let hello = job("java", &java("System.out.println(42);"));
    assert!(was_served(&sandbox.run(&hello).await.unwrap()));
    for pid in servers(&sandbox) {
        kill(pid);
    }
    let after = sandbox.run(&hello).await.unwrap();
    assert_eq!((after.outcome, after.stdout.as_str()), (Outcome::Passed, "42\n"));
    assert!(!was_served(&after), "the plain command steps in");
    assert!(was_served(&sandbox.run(&hello).await.unwrap()), "a new compiler is started");

    // In the middle of a request.
    let many: String = (0..3000).map(|n| format!("static int f{n}(int a) {{ return a * {n}; }} ")).collect();
    let large = job("java", &format!("class Large {{ {many} }} {}", java("System.out.println(43);")));
    let killing = async {
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            for pid in servers(&sandbox) {
                kill(pid);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (verdict, ()) = tokio::join!(sandbox.run(&large), killing);
    let verdict = verdict.unwrap();
    assert_eq!((verdict.outcome, verdict.stdout.as_str()), (Outcome::Passed, "43\n"));
}

#[tokio::test]
async fn a_compiler_bomb_hurts_nobody_else() {
    if lacks("java") {
        return;
    }
    let sandbox = sandbox(|_| ());
    let limits = LimitOverrides { cpu_ms: Some(2000), ..LimitOverrides::default() };
    let hello = job("java", &java("System.out.println(42);"));
    for (source, outcome, reason) in [
        (time_bomb(), Outcome::TimeLimitExceeded, "compiling: it used more than 3000 ms"),
        (memory_bomb(), Outcome::CompilationError, "the compiler ended with exit code 3"),
    ] {
        let bomb = Job { limits, ..job("java", &source) };
        let (bombed, hello) = tokio::join!(sandbox.run(&bomb), sandbox.run(&hello));
        let bombed = bombed.unwrap();
        assert_eq!(bombed.outcome, outcome, "{}", bombed.compile_message);
        assert!(!was_served(&bombed) && bombed.reason.starts_with(reason), "{}", bombed.reason);
        assert_eq!(hello.unwrap().stdout, "42\n");
    }
}

#[tokio::test]
async fn compilers_end_with_the_sandbox_and_after_their_requests() {
    if lacks("java") {
        return;
    }
    let sandbox = sandbox(|language| {
        if let Some(compiler) = &mut language.compiler {
            compiler.requests = 2;
        }
    });
    let hello = job("java", &java("System.out.println(42);"));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        assert!(was_served(&sandbox.run(&hello).await.unwrap()));
        seen.extend(servers(&sandbox));
    }
    let left = servers(&sandbox);
    assert!(left.len() == 1 && seen.len() > 1, "{left:?} of {seen:?}");
    drop(sandbox);
    assert!(left.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}

#[test]
fn a_compiler_that_stays_is_said_to_be_safe() {
    let languages = Languages::embedded().unwrap();
    let served = languages.iter().filter(|language| language.compiler.is_some());
    assert_eq!(served.map(|language| language.name.as_str()).collect::<Vec<_>>(), SERVED);
    let text = std::fs::read_to_string("data/languages/java.toml").unwrap();
    let start = text.find("safe_because = ").unwrap();
    let line = text[start..].lines().next().unwrap();
    let error = Language::parse("java.toml", &text.replace(line, "safe_because = \" \"")).unwrap_err();
    assert!(error.to_string().contains("compiler.safe_because"), "{error}");
}

fn kill(pid: i32) {
    // It may have ended meanwhile.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}
