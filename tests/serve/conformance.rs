//! The same jobs through local jails and through the service come to the same.

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::remote::RemoteSandbox;

use super::{Server, common};

/// The probes of these languages, and jobs that exercise what an answer can tell.
fn jobs() -> Vec<Job> {
    let languages = Languages::embedded().unwrap();
    let mut jobs = Vec::new();
    for name in ["python", "shell", "javascript"] {
        for (_, probe) in languages.get(name).unwrap().probe.iter() {
            let looping = probe.outcome == Outcome::TimeLimitExceeded;
            let limits = LimitOverrides { cpu_ms: looping.then_some(500), ..LimitOverrides::default() };
            let (source, tests) = (probe.source.clone(), probe.tests.clone());
            jobs.push(Job { language: name.into(), source, tests, limits, strict: true, ..Job::default() });
        }
    }
    let python = |source: &str, limits| Job {
        language: "python".into(),
        source: source.into(),
        limits,
        ..Job::default()
    };
    let none = LimitOverrides::default();
    jobs.extend([
        python("print('x' * 5000)", none),
        python("import sys\nsys.stdout.buffer.write(b'a\\xffb')\nsys.exit(7)", none),
        python("print('123456789')", LimitOverrides { output_bytes: Some(4), ..none }),
        python("x = bytearray(100 << 20)", LimitOverrides { memory_bytes: Some(50 << 20), ..none }),
        python("import time\ntime.sleep(60)", LimitOverrides { wall_ms: Some(500), ..none }),
        python("def f(:", none),
        python("while True: print('x' * 100000)", LimitOverrides { output_bytes: Some(1000), ..none }),
    ]);
    let early = python("import sys\nsys.exit(0)", none);
    jobs.push(Job { tests: Some("assert False".into()), ..early.clone() });
    jobs.push(Job { tests: Some("assert False".into()), strict: true, ..early });
    jobs
}

#[tokio::test]
async fn local_and_served_verdicts_agree() {
    let Some(server) = Server::start("conformance", &[]) else { return };
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    let local = LocalSandbox::start(options).unwrap();
    let remote = RemoteSandbox::new(std::slice::from_ref(&server.url), None).unwrap();
    let mut outcomes = Vec::new();
    for job in jobs() {
        let (here, there) = match (local.run(&job).await, remote.run(&job).await) {
            (Ok(here), Ok(there)) => (here, there),
            (Err(here), Err(there)) if here.cause == "toolchain_missing" => {
                assert_eq!(there.cause, here.cause);
                common::skip("conformance", &here.message);
                continue;
            }
            other => panic!("{job:?}: {other:?}"),
        };
        outcomes.push(here.outcome);
        // What is measured differs from run to run, and so does what a program wrote before it was ended.
        let flooded = here.outcome == Outcome::OutputLimitExceeded;
        let mut same = there.clone();
        same.usage = here.usage;
        same.signal = if flooded { here.signal } else { same.signal };
        assert_eq!(here, same, "{job:?}");
        assert!(there.usage.peak_rss_bytes > 0 && there.usage.wall_ms > 0, "{there:?}");
    }
    for outcome in [
        Outcome::Passed,
        Outcome::WrongAnswer,
        Outcome::RuntimeError,
        Outcome::SyntaxError,
        Outcome::TimeLimitExceeded,
        Outcome::MemoryLimitExceeded,
        Outcome::OutputLimitExceeded,
    ] {
        assert!(outcomes.contains(&outcome), "{outcome:?} never came");
    }
}
