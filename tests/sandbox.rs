//! The local sandbox: verdicts of the six languages, limits, output, faults.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use autocodegen::error::{Fault, Recovery};
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Outcome, Verdict};
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{Isolation, LocalSandbox, Options};

fn options() -> Options {
    Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() }
}

/// One sandbox for all tests of this program, or `None` (and said so) where there can be none.
fn sandbox(test: &str) -> Option<&'static LocalSandbox> {
    static SANDBOX: OnceLock<Result<LocalSandbox, String>> = OnceLock::new();
    match SANDBOX.get_or_init(|| LocalSandbox::start(options()).map_err(|error| error.to_string())) {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            common::skip(test, error);
            None
        }
    }
}

fn job(language: &str, source: &str) -> Job {
    Job { language: language.to_owned(), source: source.to_owned(), tests: None, ..Job::default() }
}

/// Runs `job`; `None` (and said so) where its toolchain is not installed. Other faults are failures.
async fn run(test: &str, job: &Job) -> Option<Verdict> {
    match sandbox(test)?.run(job).await {
        Ok(verdict) => Some(verdict),
        Err(fault) if fault.cause == "toolchain_missing" => {
            common::skip(test, &fault.message);
            None
        }
        Err(fault) => panic!("{test}: {} {fault}", fault.cause),
    }
}

/// The outcome of `source`, which must be `expected`.
async fn expect(test: &str, language: &str, source: &str, expected: Outcome) -> Option<Verdict> {
    let verdict = run(test, &job(language, source)).await?;
    assert_eq!(verdict.outcome, expected, "{test}: {verdict:#?}");
    Some(verdict)
}

/// The four probes of the language file.
async fn probes(name: &str) {
    let languages = Languages::embedded().unwrap();
    let language = languages.get(name).unwrap();
    for (probe_name, probe) in language.probe.iter() {
        let job = probe.job(language);
        let test = format!("{name} {probe_name}");
        let Some(verdict) = run(&test, &job).await else { return };
        assert_eq!(verdict.outcome, probe.outcome, "{test}: {verdict:#?}");
        assert_eq!(verdict.reason.is_empty(), verdict.outcome == Outcome::Passed, "{test}: {verdict:#?}");
        assert!(!verdict.toolchain.is_empty() && !verdict.isolation.is_empty());
    }
}

#[tokio::test]
async fn python() {
    probes("python").await;
    expect("python memory", "python", "x = bytearray(2 << 30)\nprint(len(x))", Outcome::MemoryLimitExceeded)
        .await;
    expect("python syntax", "python", "def f(:\n    pass\n", Outcome::SyntaxError).await;
    expect("python eval", "python", "eval('1 +')", Outcome::RuntimeError).await;
    let Some(verdict) = expect("python output", "python", "print('x' * 200_000)", Outcome::Passed).await
    else {
        return;
    };
    assert_eq!(verdict.stdout.len(), 200_001);
}

#[tokio::test]
async fn cpp() {
    probes("cpp").await;
    let memory = "#include <vector>\nint main() { for (;;) { auto p = new std::vector<char>(1 << 26, 'x'); if (p->empty()) return 0; } }";
    expect("cpp memory", "cpp", memory, Outcome::MemoryLimitExceeded).await;
    let Some(verdict) =
        expect("cpp syntax", "cpp", "int main() { return 0 }", Outcome::CompilationError).await
    else {
        return;
    };
    assert!(verdict.compile_message.contains("expected"), "{verdict:#?}");
    let output = "#include <cstdio>\nint main() { for (int i = 0; i < 20000; ++i) puts(\"0123456789\"); }";
    let verdict = expect("cpp output", "cpp", output, Outcome::Passed).await.unwrap();
    assert_eq!(verdict.stdout.len(), 220_000);
    assert!(verdict.compile_usage.unwrap().cpu_ms > 0);
}

#[tokio::test]
async fn java() {
    probes("java").await;
    // The JVM's own limit comes first.
    let memory = "import java.util.*; public class A { public static void main(String[] a) { List<byte[]> l = new ArrayList<>(); for (;;) l.add(new byte[1 << 24]); } }";
    expect("java memory", "java", memory, Outcome::RuntimeError).await;
    let refused = "public class A { public static void main(String[] a) { int x = \"\"; } }";
    expect("java compile", "java", refused, Outcome::CompilationError).await;
    let output = "public class A { public static void main(String[] a) { for (int i = 0; i < 20000; i++) System.out.println(\"0123456789\"); } }";
    let Some(verdict) = expect("java output", "java", output, Outcome::Passed).await else { return };
    assert_eq!(verdict.stdout.len(), 220_000);
}

#[tokio::test]
async fn javascript() {
    probes("javascript").await;
    let memory = "const all = []; for (;;) all.push(Buffer.alloc(1 << 26, 1));";
    expect("javascript memory", "javascript", memory, Outcome::MemoryLimitExceeded).await;
    expect("javascript syntax", "javascript", "function f( {", Outcome::SyntaxError).await;
    expect("javascript JSON", "javascript", "JSON.parse('{')", Outcome::RuntimeError).await;
    let output = "console.log('x'.repeat(200000))";
    let Some(verdict) = expect("javascript output", "javascript", output, Outcome::Passed).await else {
        return;
    };
    assert_eq!(verdict.stdout.len(), 200_001);
}

#[tokio::test]
async fn go() {
    probes("go").await;
    let memory = "package main\nfunc main() { var all [][]byte; for { b := make([]byte, 1<<26); for i := range b { b[i] = 1 }; all = append(all, b) } }";
    expect("go memory", "go", memory, Outcome::MemoryLimitExceeded).await;
    expect("go compile", "go", "package main\nfunc main() { x := 1 }", Outcome::CompilationError).await;
    let output = "package main\nimport \"fmt\"\nfunc main() { for i := 0; i < 20000; i++ { fmt.Println(\"0123456789\") } }";
    let Some(verdict) = expect("go output", "go", output, Outcome::Passed).await else { return };
    assert_eq!(verdict.stdout.len(), 220_000);
}

#[tokio::test]
async fn shell() {
    probes("shell").await;
    let mut memory =
        job("shell", "x=$(head -c 40000000 /dev/zero | tr '\\0' a); y=$x$x$x$x; sleep 1; echo ${#y}");
    memory.limits.memory_bytes = Some(64 << 20);
    let verdict = run("shell memory", &memory).await.unwrap();
    assert_eq!(verdict.outcome, Outcome::MemoryLimitExceeded, "{verdict:#?}");
    expect("shell syntax", "shell", "if true; then\n", Outcome::SyntaxError).await;
    let verdict = expect("shell output", "shell", "head -c 200000 /dev/zero", Outcome::Passed).await.unwrap();
    assert_eq!(verdict.stdout.len(), 200_000);
}

#[tokio::test]
async fn surroundings_are_the_same_each_time() {
    let source = "import os, pwd, socket, sys, time\n\
        print(sys.stdin.read() == '', os.getcwd(), socket.gethostname(), pwd.getpwuid(os.getuid()).pw_name)\n\
        print(time.strftime('%Z'), sorted(os.environ), hash('seed'))\n\
        print(sorted(os.listdir('.')), os.listdir('/tmp'), [p for p in os.listdir('/proc') if p.isdigit()])\n\
        print(sorted(map(int, os.listdir('/proc/self/fd')))[:3], os.getsid(0) == os.getpid())\n";
    let test = "surroundings";
    let Some(first) = expect(test, "python", source, Outcome::Passed).await else { return };
    let second = expect(test, "python", source, Outcome::Passed).await.unwrap();
    assert_eq!(first.stdout, second.stdout);
    assert!(first.stdout.starts_with("True /work sandbox sandbox\nUTC "), "{}", first.stdout);
    assert!(first.stdout.contains("['test.py'] [] ["), "{}", first.stdout);
}

#[tokio::test]
async fn both_streams_are_drained_apart_and_cut() {
    let source = "import os\n\
        for _ in range(512):\n    os.write(1, b'o' * 65536)\n    os.write(2, b'e' * 65536)\n";
    let Some(verdict) = expect("streams", "python", source, Outcome::Passed).await else { return };
    assert!(verdict.truncated);
    assert_eq!((verdict.stdout.len(), verdict.stderr.len()), (16 << 20, 16 << 20));
    assert!(verdict.stdout.bytes().all(|b| b == b'o') && verdict.stderr.bytes().all(|b| b == b'e'));
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_flagged() {
    let source = "import os\nos.write(1, b'a\\xffb')\n";
    let Some(verdict) = expect("utf8", "python", source, Outcome::Passed).await else { return };
    assert!(verdict.invalid_utf8);
    assert_eq!(verdict.stdout, "a\u{fffd}b");
}

#[tokio::test]
async fn cpu_time_of_children_counts() {
    let mut job =
        job("python", "import os, time\nif os.fork() == 0:\n    while True: pass\ntime.sleep(100)\n");
    job.limits.cpu_ms = Some(500);
    job.limits.wall_ms = Some(60_000);
    let started = Instant::now();
    let Some(verdict) = run("children", &job).await else { return };
    assert_eq!(verdict.outcome, Outcome::TimeLimitExceeded, "{verdict:#?}");
    assert!(verdict.usage.cpu_ms >= 500, "{verdict:#?}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_sleeper_reaches_the_wall_limit() {
    let mut job = job("python", "import time\nprint('before', flush=True)\ntime.sleep(100)\n");
    job.limits.wall_ms = Some(1500);
    let Some(verdict) = run("sleeper", &job).await else { return };
    assert_eq!(verdict.outcome, Outcome::TimeLimitExceeded, "{verdict:#?}");
    assert_eq!(verdict.stdout, "before\n");
    assert!(verdict.usage.cpu_ms < 1000, "{verdict:#?}");
}

#[tokio::test]
async fn a_step_ends_with_its_program_not_with_its_children() {
    let source = "(sleep 100; echo late) & echo early";
    let started = Instant::now();
    let Some(verdict) = expect("daemon", "shell", source, Outcome::Passed).await else { return };
    assert_eq!(verdict.stdout, "early\n");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_job_nobody_waits_for_is_ended() {
    let Some(sandbox) = sandbox("dropped") else { return };
    let mut endless = job("shell", "while :; do :; done");
    endless.limits.cpu_ms = Some(100_000);
    endless.limits.wall_ms = Some(100_000);
    for _ in 0..sandbox.capacity() + 1 {
        let run = tokio::time::timeout(Duration::from_millis(300), sandbox.run(&endless)).await;
        assert!(run.is_err());
    }
    expect("after dropped", "shell", "echo free", Outcome::Passed).await;
}

#[tokio::test]
async fn unknown_language_is_pending() {
    let Some(sandbox) = sandbox("unknown") else { return };
    let fault = sandbox.run(&job("brainfuck", "+")).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "unknown_language"));
}

#[tokio::test]
async fn missing_toolchain_is_pending_and_names_what_installs_it() {
    let text = fs::read_to_string("data/languages/shell.toml").unwrap().replace("bash", "no-such-shell");
    let language = Language::parse("test.toml", &text).unwrap();
    let languages = Some(Languages::new(vec![language]).unwrap());
    let sandbox = match LocalSandbox::start(Options { languages, ..options() }) {
        Ok(sandbox) => sandbox,
        Err(error) => return common::skip("missing toolchain", &error.to_string()),
    };
    let fault = sandbox.run(&job("shell", "true")).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "toolchain_missing"));
    assert!(fault.hint.unwrap().contains("no-such-shell"));
}

#[tokio::test]
async fn a_dead_launcher_is_a_fault_and_is_replaced() {
    let sandbox = match LocalSandbox::start(options()) {
        Ok(sandbox) => sandbox,
        Err(error) => return common::skip("dead launcher", &error.to_string()),
    };
    let slow = job("shell", "sleep 30");
    let killed = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        kill(sandbox.launcher_pid());
    };
    let (result, ()) = tokio::join!(sandbox.run(&slow), killed);
    let fault: Fault = result.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "launcher"));
    let verdict = sandbox.run(&job("shell", "echo again")).await.unwrap();
    assert_eq!(verdict.stdout, "again\n");
}

#[tokio::test]
async fn a_refused_control_group_is_a_fault_and_passes() {
    let sandbox = match LocalSandbox::start(options()) {
        Ok(sandbox) if sandbox.isolation().contains("cgroup") => sandbox,
        Ok(_) => return common::skip("refused group", "no writable control groups"),
        Err(error) => return common::skip("refused group", &error.to_string()),
    };
    for group in groups_of(sandbox.launcher_pid()) {
        fs::remove_dir(group).unwrap();
    }
    let fault = sandbox.run(&job("shell", "echo never")).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "jail"), "{fault}");
    let verdict = sandbox.run(&job("shell", "echo again")).await.unwrap();
    assert_eq!(verdict.stdout, "again\n");
}

#[tokio::test]
async fn nothing_is_left_when_the_sandbox_is_dropped() {
    let scratch = tempfile::tempdir().unwrap();
    let sandbox = match LocalSandbox::start(Options { scratch: Some(scratch.path().to_owned()), ..options() })
    {
        Ok(sandbox) => sandbox,
        Err(error) => return common::skip("nothing left", &error.to_string()),
    };
    let launcher = sandbox.launcher_pid();
    let verdict = sandbox.run(&job("shell", "sleep 100 & echo done > file; mkdir -p a/b")).await.unwrap();
    assert_eq!(verdict.outcome, Outcome::Passed);
    drop(sandbox);
    assert!(!Path::new(&format!("/proc/{launcher}")).exists());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert_eq!(groups_of(launcher), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn reduced_isolation_runs_and_cleans_up() {
    let scratch = tempfile::tempdir().unwrap();
    let reduced =
        Options { isolation: Isolation::Reduced, scratch: Some(scratch.path().to_owned()), ..options() };
    let sandbox = LocalSandbox::start(reduced).unwrap();
    assert!(sandbox.isolation().starts_with("reduced+"));
    let verdict = sandbox.run(&job("shell", "echo hello; exit 3")).await.unwrap();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::RuntimeError, Some(3)), "{verdict:#?}");
    let mut endless = job("shell", "setsid sleep 1000 & while :; do :; done");
    endless.limits.cpu_ms = Some(300);
    let verdict = sandbox.run(&endless).await.unwrap();
    assert_eq!(verdict.outcome, Outcome::TimeLimitExceeded, "{verdict:#?}");
    let launcher = sandbox.launcher_pid();
    drop(sandbox);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert_eq!(groups_of(launcher), Vec::<PathBuf>::new());
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The control groups of a launcher that are still there.
fn groups_of(launcher: u32) -> Vec<PathBuf> {
    fn walk(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                }
                walk(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &format!("autocodegen-{launcher}"), &mut found);
    found
}
