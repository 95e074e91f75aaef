//! A pass is earned: tests that run to their end pass, however they end; programs that end before them do not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::language::{Language, Languages, Probe};
use autocodegen::sandbox::local::{LocalSandbox, Options};

/// `None`, with a word about it, where there are no jails.
fn sandbox() -> Option<LocalSandbox> {
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    LocalSandbox::start(options).map_err(|error| common::skip("completion", &error.to_string())).ok()
}

/// `None` where the toolchain is missing.
async fn run(
    sandbox: &LocalSandbox,
    language: &str,
    solution: &str,
    tests: &str,
    strict: bool,
) -> Option<Verdict> {
    let job = Job {
        language: language.to_owned(),
        source: solution.to_owned(),
        tests: Some(tests.to_owned()),
        limits: LimitOverrides { cpu_ms: Some(10_000), ..LimitOverrides::default() },
        strict,
        ..Job::default()
    };
    match sandbox.run(&job).await {
        Ok(verdict) => Some(verdict),
        Err(fault) if fault.cause == "toolchain_missing" => {
            common::skip(language, &fault.message);
            None
        }
        Err(fault) => panic!("{language}: {fault}"),
    }
}

fn with_tests(probe: &Probe) -> Option<(&str, &str)> {
    Some((&probe.source, probe.tests.as_deref()?))
}

#[test]
fn every_language_with_tests_has_a_way_to_know() {
    let languages = Languages::embedded().unwrap();
    let is_without = |language: &&Language| {
        let has_completion = language.runtimes().all(|runtime| runtime.completion.is_some());
        let has_cheat = language.probe.cheating.as_ref().and_then(with_tests).is_some();
        language.probe.passing.tests.is_some() && !(has_completion && has_cheat)
    };
    let without: Vec<_> = languages.iter().filter(is_without).map(|language| &language.name).collect();
    // Their runtime cannot be had here, so nothing written for them could be tried.
    assert_eq!(without, ["fsharp", "vb"], "no [completion], or no [probe.cheating] with tests");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_with_tests_knows_whether_they_ran() {
    let Some(sandbox) = sandbox() else { return };
    for language in Languages::embedded().unwrap().iter() {
        let Some((solution, tests)) = with_tests(&language.probe.passing) else { continue };
        let cheat = language.probe.cheating.as_ref().and_then(with_tests);
        let (Some((cheat, cheated)), Some(_)) = (cheat, &language.completion) else { continue };
        let name = &language.name;
        if !language.installable && autocodegen::sandbox::toolchain::find(language).is_err() {
            continue;
        }
        for (solution, tests, strict, expected) in [
            (solution, tests, true, Outcome::Passed),
            (solution, tests, false, Outcome::Passed),
            (cheat, cheated, false, Outcome::Passed),
            (cheat, cheated, true, Outcome::WrongAnswer),
        ] {
            let Some(verdict) = run(&sandbox, name, solution, tests, strict).await else { break };
            assert_eq!(verdict.outcome, expected, "{name}, strict {strict}: {verdict:#?}");
        }
    }
}

/// Runs each pair of a solution and tests; all must come to the same.
async fn check(language: &str, expected: Outcome, programs: &[(&str, &str)]) {
    let Some(sandbox) = sandbox() else { return };
    for (solution, tests) in programs {
        // A cheat that does not pass where nobody looks proves nothing.
        for (strict, expected) in [(false, Outcome::Passed), (true, expected)] {
            let Some(verdict) = run(&sandbox, language, solution, tests, strict).await else { return };
            assert_eq!(
                verdict.outcome, expected,
                "{language}, strict {strict}:\n{solution}\n---\n{tests}\n{verdict:#?}"
            );
        }
    }
}

const UNITTEST: &str = "
import unittest
class Test(unittest.TestCase):
    def test_f(self):
        self.assertEqual(f(), 1)
";

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    let f = "def f():\n    return 1\n";
    let unittest = |end: &str| format!("{UNITTEST}\n{end}");
    check("python", Outcome::Passed, &[
        (f, "assert f() == 1"),
        (f, "assert f() == 1  # the end"),
        (f, &unittest("unittest.main()")),
        (f, &unittest("if __name__ == '__main__':\n    unittest.main(verbosity=2)")),
        (f, &unittest("unittest.main(exit=False)\nprint('done')")),
        (f, &unittest("suite = unittest.defaultTestLoader.loadTestsFromTestCase(Test)\nresult = unittest.TextTestRunner().run(suite)\nimport sys\nsys.exit(not result.wasSuccessful())")),
        (f, "import sys\nassert f() == 1\nsys.exit(0)"),
        (f, "import sys\ndef main():\n    assert f() == 1\n    return 0\nif __name__ == '__main__':\n    sys.exit(main())"),
        (f, "assert f() == 1\nexit()"),
        (f, "assert f() == 1\nquit(0)"),
        (f, "assert f() == 1\nraise SystemExit(0)"),
        ("from sys import exit\ndef f():\n    return 1\n", "assert f() == 1\nexit(0)"),
        ("import sys\ndef f():\n    sys.exit(3)", "try:\n    f()\nexcept SystemExit as end:\n    assert end.code == 3"),
        ("async def f():\n    return 1", "import asyncio\nasync def test():\n    assert await f() == 1\nasyncio.run(test())"),
        (f, "import threading\ndef test():\n    import time\n    time.sleep(0.05)\n    assert f() == 1\n    print('ok')\nthreading.Thread(target=test).start()"),
        (f, "from multiprocessing import Pool\nif __name__ == '__main__':\n    with Pool(2) as pool:\n        assert pool.apply(f) == 1"),
        (f, "for name, value in list(globals().items()):\n    if name.startswith('test'):\n        value()"),
        (f, "from unittest import mock\nimport os, builtins\nwith mock.patch('os.read'), mock.patch('os.write'), mock.patch('sys.exit') as end:\n    import sys\n    sys.exit(0)\nassert end.called"),
    ]).await;
    let cheat = |body: &str| format!("import os, sys, threading, atexit\ndef f():\n    {body}\n");
    check(
        "python",
        Outcome::WrongAnswer,
        &[
            (&cheat("os._exit(0)"), "assert f() == 1"),
            (&cheat("sys.exit(0)"), "assert f() == 1"),
            (&cheat("exit()"), "assert f() == 1"),
            (&cheat("raise SystemExit"), "assert f() == 1"),
            (&cheat("sys.exit()"), "import sys\ndef test():\n    assert f() == 1\ntest()\nsys.exit(0)"),
            (&cheat("os._exit(0)"), &unittest("unittest.main()")),
            (
                &cheat("threading.Thread(target=lambda: os._exit(0)).start(); threading.Event().wait()"),
                "assert f() == 1",
            ),
            (&cheat("os.execv('/bin/true', ['true'])"), "assert f() == 1"),
            ("import os, sys\nsys.excepthook = lambda *_: os._exit(0)\ndef f(): pass", "assert f() == 1"),
            ("import sys\nsys.exit(0)\ndef f(): pass", "assert f() == 1"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    let f = "function f() { return 1 }";
    let a = "const assert = require('assert');\n";
    let tests = |text: &str| format!("{a}{text}");
    check("javascript", Outcome::Passed, &[
        (f, &tests("assert.strictEqual(f(), 1)")),
        (f, &tests("assert(f() === 1) // the end")),
        (f, &tests("function fullTesting() { assert(f()) }")),
        (f, &tests("async function fullTesting() { await null; assert(f()) }")),
        (f, &tests("(async () => { await new Promise(r => setTimeout(r, 20)); assert(f()) })()")),
        (f, &tests("assert(f());\nprocess.exit(0);")),
        (f, &tests("async function main() { assert(f()) }\nmain().then(() => process.exit(0)).catch(() => process.exit(1))")),
        (f, &tests("setTimeout(() => { assert(f()); process.exit() }, 20)")),
        (f, &tests("const done = ok => { process.exit(ok ? 0 : 1) };\ndone(f() === 1)")),
        (f, &tests("process.exitCode = 0;\nif (require.main === module) { assert(f()) }")),
        // A promise that the tests leave open on purpose.
        (f, &tests("async function late() { await Promise.race([new Promise(() => {}), 1]); assert(f()) }\nlate()")),
        (f, "import test from 'node:test';\nimport assert from 'node:assert/strict';\ntest('f', async () => { assert.equal(f(), 1) })"),
        (f, "import assert from 'assert';\nassert.equal(await f(), 1);\nprocess.exit(0)"),
        (f, &tests("assert.nearly = (x, y) => assert(Math.abs(x - y) < 1e-9);\nassert.nearly(f(), 1)")),
        (f, &tests("const fs = require('fs');\nfs.readSync = fs.writeSync = () => { throw 1 };\nassert(f())")),
        ("function f() { process.exit(3) }", &tests("const exit = process.exit; let code;\nprocess.exit = c => { code = c };\nf(); process.exit = exit;\nassert.equal(code, 3)")),
    ]).await;
    check("javascript", Outcome::WrongAnswer, &[
        ("function f() { process.exit(0) }", &tests("assert(f())")),
        ("function f() { process.reallyExit(0) }", &tests("assert(f())")),
        ("function f() { process.exit(0) }", &tests("test();\nfunction test() { assert(f()) }\nprocess.exit(0)")),
        ("async function f() { setImmediate(() => process.exit(0)); await new Promise(r => setTimeout(r, 500)) }", &tests("(async () => { assert(await f()) })()")),
        ("async function f() { await new Promise(() => {}) }", &tests("async function fullTesting() { assert(await f()) }")),
        ("process.on('uncaughtException', () => {});\nfunction f() {}", &tests("assert(f())")),
        ("setTimeout(process.exit, 0, 0);\nfunction f() {}", &tests("setTimeout(() => assert(f()), 50)")),
        ("require('assert').strictEqual = () => {};\nfunction f() { process.exit(0) }", &tests("assert.strictEqual(f(), 1)")),
    ]).await;
}

/// `assert` is still itself after a solution tried to replace it.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_assertions_still_fail() {
    let Some(sandbox) = sandbox() else { return };
    for (language, solution, tests) in [
        (
            "javascript",
            "require('assert').strictEqual = () => {}; function f() {}",
            "const assert = require('assert'); assert.strictEqual(f(), 1)",
        ),
        (
            "typescript",
            "require('assert').equal = () => {}; function f() {}",
            "import { equal } from 'assert'; equal(f(), 1)",
        ),
        ("coffeescript", "require('assert').equal = ->\nf = ->", "require('assert').equal f(), 1"),
        ("lua", "assert = function() end function f() end", "assert(f())"),
        ("php", "<?php ini_set('zend.assertions', 0); function f() {}", "<?php assert(f());"),
        ("php", "<?php function f() { ini_set('zend.assertions', 0); }", "<?php $x = f(); assert($x);"),
    ] {
        let Some(verdict) = run(&sandbox, language, solution, tests, true).await else { continue };
        assert_ne!(verdict.outcome, Outcome::Passed, "{language}: {solution}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript() {
    let f = "function f(): number { return 1 }";
    check("typescript", Outcome::Passed, &[
        (f, "import assert from 'assert';\nassert.strictEqual(f(), 1)"),
        (f, "import * as assert from 'node:assert';\nasync function main(): Promise<void> { assert.equal(f(), 1) }\nmain().then(() => process.exit(0))"),
        (f, "import assert from 'assert';\nassert.equal(await Promise.resolve(f()), 1);"),
        (f, "const assert = require('assert');\nconst x = await f();\nassert.equal(x, 1);\nprocess.exit(0)"),
        ("export class A<T> { constructor(private t: T) {} get(): T { return this.t } }", "import { strict as assert } from 'assert';\nassert.equal(new A<number>(1).get(), 1)"),
    ]).await;
    check(
        "typescript",
        Outcome::WrongAnswer,
        &[
            (
                "function f(): never { process.exit(0) }",
                "import assert from 'assert';\nassert.strictEqual(f(), 1);\nprocess.exit(0)",
            ),
            (
                "const f = (): Promise<number> => new Promise(() => {})",
                "import assert from 'assert';\nasync function t(): Promise<void> { assert(await f()) }\nt()",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shell() {
    let f = "f() { echo 1; }";
    check("shell", Outcome::Passed, &[
        (f, "[ \"$(f)\" = 1 ] || exit 1"),
        (f, "set -euo pipefail\n[[ $(f) == 1 ]]\nexit 0"),
        (f, "test() { [ \"$(f)\" = 1 ] || exit 1; }\ntest\nexit $?"),
        (f, "failed=0\n[ \"$(f)\" = 1 ] || failed=1\nexit $failed"),
        (f, "main() { [ \"$(f)\" = 1 ] || return 1; exit; }\nmain"),
        ("f() { echo 1; }\ntmp=$(mktemp)\ntrap 'rm -f \"$tmp\"' EXIT", "[ \"$(f)\" = 1 ] && exit 0\nexit 1"),
        (f, "(exit 0)\n(exit 3)\n[ $? = 3 ]"),
        (f, "exec 3> out 4< /dev/null\necho x >&3\nexec 3>&- 4<&-\n[ \"$(cat out)\" = x ] # end"),
        ("f() { exit 2; }", "(f); [ $? -eq 2 ] || exit 1"),
        ("read() { :; }; echo() { :; }; printf() { :; }; set -u", ":"),
        ("#!/bin/bash\nset -e\nif [[ \"${BASH_SOURCE[0]}\" == \"$0\" ]]; then f() { builtin echo 1; }; fi", "[[ $(f) == 1 ]]"),
    ]).await;
    check(
        "shell",
        Outcome::WrongAnswer,
        &[
            ("f() { exit 0; }", "f; [ 1 = 2 ]"),
            ("exit 0", "[ 1 = 2 ]; exit 0"),
            ("f() { exec true; }", "f; exit 1"),
            ("trap 'exit 0' EXIT", "exit 1"),
            ("trap 'exit 0' EXIT", "false"),
            ("trap 'exit 0' ERR", "false; exit 1"),
            ("trap 'exit 0' DEBUG", "false; exit 1"),
            ("f() { builtin exit 0; }", "f; exit 1"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ruby() {
    let f = "def f\n  1\nend";
    let minitest = "require 'minitest/autorun'\nclass TestF < Minitest::Test\n  def test_f\n    assert_equal 1, f\n  end\nend";
    let test_unit = "require 'test/unit'\nclass TestF < Test::Unit::TestCase\n  def test_f\n    assert_equal(1, f)\n  end\nend";
    check(
        "ruby",
        Outcome::Passed,
        &[
            (f, "raise 'f' unless f == 1"),
            (f, "raise 'f' unless f == 1 # the end\nexit 0"),
            (f, "failed = 0\nexit(failed.zero?)"),
            (f, "def test\n  raise unless f == 1\n  exit\nend\ntest if __FILE__ == $0"),
            (f, minitest),
            (f, test_unit),
            (f, &format!("{test_unit}\nexit Test::Unit::AutoRunner.run")),
            (f, &format!("{minitest}\n__END__\nexit 1")),
            ("ROWS = DATA.read\ndef f = ROWS.lines.size\n__END__\none\n", minitest),
            (f, "at_exit { puts 'bye' }\nt = Thread.new { f }\nraise unless t.value == 1"),
            ("def f = exit(2)", "begin\n  f\nrescue SystemExit => e\n  raise 'f' unless e.status == 2\nend"),
            (f, "pid = fork { exit 0 }\nProcess.wait pid\nraise unless f == 1"),
        ],
    )
    .await;
    check(
        "ruby",
        Outcome::WrongAnswer,
        &[
            ("def f = exit(0)", "raise unless f == 1"),
            ("def f = exit!(0)", "raise unless f == 1"),
            ("def f = exit!(0)", minitest),
            ("def f = exit(0)", test_unit),
            ("def f = Thread.main.kill", "raise unless f == 1"),
            ("at_exit { exit! 0 }\ndef f = 2", "raise unless f == 1"),
            ("at_exit { exit 0 }\ndef f = 2", minitest),
            ("def f = exec('true')", "raise unless f == 1"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn perl() {
    let f = "use strict;\nuse warnings;\nsub f { return 1 }";
    check(
        "perl",
        Outcome::Passed,
        &[
            (f, "die unless f() == 1"),
            (f, "die unless f() == 1; # the end\nexit;"),
            (f, "use Test::More tests => 1;\nis(f(), 1);"),
            (f, "use Test::More;\nis(f(), 1);\ndone_testing();\nexit 0;"),
            (f, "sub main { die unless f() == 1; exit(0) }\nmain() unless caller;"),
            (f, "my $bad = 0;\nexit $bad ? 1 : 0;"),
            (
                "package A;\nuse strict;\nsub f { 1 }\n1;\n__END__\n=pod\n",
                "package main;\nuse Test::More;\nok(A::f());\ndone_testing;\n__DATA__\nx\n",
            ),
            ("my @rows = <DATA>;\nsub f { scalar @rows }\n__DATA__\none\n", "die unless f() == 1;"),
            (f, "my $pid = fork // die; if (!$pid) { exit 0 } waitpid $pid, 0; die unless f() == 1;"),
            (f, "END { print \"bye\\n\" }\n$/ = undef; $, = '-'; $\\ = '!'; die unless f() == 1"),
        ],
    )
    .await;
    check(
        "perl",
        Outcome::WrongAnswer,
        &[
            ("sub f { exit 0 }", "die unless f() == 1"),
            ("sub f { exit }", "use Test::More;\nis(f(), 1);\ndone_testing;"),
            ("use POSIX; sub f { POSIX::_exit(0) }", "use Test::More;\nis(f(), 1);\ndone_testing;"),
            ("END { $? = 0 } sub f { 2 }", "die unless f() == 1"),
            ("$SIG{__DIE__} = sub { exit 0 }; sub f { 2 }", "die unless f() == 1"),
            ("sub f { exec 'true' }", "die unless f() == 1"),
            ("sub f { 2 } exit 0;", "die unless f() == 1; exit 0;"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn php() {
    let f = "<?php\nfunction f() { return 1; }\n?>";
    check("php", Outcome::Passed, &[
        (f, "<?php\nassert(f() === 1);\n?>\n"),
        (f, "<?php\nassert(f() === 1); // the end"),
        (f, "<?php\nassert(f() === 1);\nexit(0);"),
        (f, "<?php\nfunction main() { assert(f() === 1); exit; }\nmain();"),
        (f, "<?php\nif (f() !== 1) { exit(1); }\ndie('all well');\n?>"),
        (f, "<?php\ndeclare(strict_types=1);\nassert(f() === 1);\nexit(f() === 1 ? 0 : 1);"),
        ("<?php\ndeclare(strict_types=1);\nnamespace App;\nfunction f() { return 1; }", "<?php\nuse function App\\f as g;\nassert(g() === 1);"),
        (f, "<?php\nregister_shutdown_function(function () { echo 'bye'; });\nassert(f() === 1);"),
        (f, "<?php\nini_set('assert.exception', '1');\ntry { assert(f() === 2); } catch (AssertionError $e) { echo 'as expected'; }"),
    ]).await;
    check(
        "php",
        Outcome::WrongAnswer,
        &[
            ("<?php\nfunction f() { exit(0); }", "<?php\nassert(f() === 1);\nexit(0);"),
            ("<?php\nfunction f() { die; }", "<?php\nassert(f() === 1);"),
            (
                "<?php\nregister_shutdown_function(fn() => exit(0));\nfunction f() { exit; }",
                "<?php\nassert(f() === 1);",
            ),
            (
                "<?php\nclass A { function __destruct() { exit(0); } }\nfunction f() { new A; }",
                "<?php\nassert(f() === 1);",
            ),
            ("<?php\nset_exception_handler(fn() => exit(0));\nfunction f() {}", "<?php\nassert(f() === 1);"),
            ("<?php\nfunction f() { pcntl_exec('/bin/true'); }", "<?php\nassert(f() === 1);"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lua() {
    let f = "local function f() return 1 end\nreturn f";
    check("lua", Outcome::Passed, &[
        (f, "assert(f() == 1)"),
        (f, "assert(f() == 1) -- the end\nos.exit(0)"),
        (f, "local f = require('any.name')\nlocal function main() assert(f() == 1) os.exit(true, true) end\nmain()"),
        (f, "local lu = require('luaunit')\nfunction testF() lu.assertEquals(f(), 1) end\nos.exit(lu.LuaUnit.run())"),
        ("local M = {}\nfunction M.f() return 1 end\nreturn M", "local m = require 'm'\nassert(m.f() == 1)\nreturn m"),
        ("function f() return 1 end", "local m = require('m')\nassert(m.f() == 1 and f() == 1)"),
        ("local debug, io = true, false\nfunction f() return debug and 1 or io end", "assert(f() == 1)"),
        ("function f() os.exit(3) end", "local exit, code = os.exit, nil\nos.exit = function(c) code = c end\nf()\nos.exit = exit\nassert(code == 3)"),
    ]).await;
    check("lua", Outcome::WrongAnswer, &[
        ("function f() os.exit(0) end", "assert(f() == 1)\nos.exit(0)"),
        ("local exit = os.exit\nfunction f() exit(true) end", "assert(f() == 1)"),
        ("os.exit()", "assert(f() == 1)"),
        ("setmetatable({}, { __gc = function() os.exit(0, false) end })\nfunction f() collectgarbage() end", "assert(f() == 1)"),
    ]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coffeescript() {
    let f = "f = -> 1";
    check(
        "coffeescript",
        Outcome::Passed,
        &[
            (f, "assert = require 'assert'\nassert.equal f(), 1 # the end"),
            (f, "assert = require 'assert'\ntest = ->\n  assert.equal f(), 1\n  process.exit 0\ntest()"),
            (f, "assert = require 'assert'\ndo ->\n  await null\n  assert.equal f(), 1"),
            (f, "assert = require 'assert'\nsetTimeout (-> assert.equal f(), 1), 10"),
        ],
    )
    .await;
    check(
        "coffeescript",
        Outcome::WrongAnswer,
        &[("f = -> process.exit 0", "assert = require 'assert'\nassert.equal f(), 1\nprocess.exit 0")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_traceback_tells_the_lines_of_the_spliced_program_but_for_one() {
    let Some(sandbox) = sandbox() else { return };
    let solution = "def one():\n    return 1\n";
    let tests = "def test():\n    assert one() == 2\n\nif __name__ == \"__main__\":\n    test()\n";
    let Some(verdict) = run(&sandbox, "python", solution, tests, true).await else { return };
    let lines: Vec<_> = verdict.stderr.lines().filter(|line| line.contains(", line ")).collect();
    assert_eq!(
        lines,
        [r#"  File "/work/test.py", line 9, in <module>"#, r#"  File "/work/test.py", line 6, in test"#]
    );
}
