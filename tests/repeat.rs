//! Repeated runs: what a program takes from its surroundings shows, what it does not, does not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use autocodegen::sandbox::job::Job;
use autocodegen::sandbox::repeat::run_repeated;

const JAVA_IDENTITY: &str =
    "public class Main { public static void main(String[] a) { System.out.println(new Object()); } }";
const JAVA_STEADY: &str = "import java.util.*; public class Main { public static void main(String[] a) { \
    System.out.println(new TreeMap<>(Map.of(\"one\", 1, \"two\", 2, \"three\", 3))); } }";
/// Of so many keys the order is the same in no two runs.
const GO_MAP: &str = "package main\nimport \"fmt\"\nfunc main() {\n\tm := map[int]int{}\n\tfor i := range 100 {\n\t\tm[i] = i\n\t}\n\
    \tfor key := range m {\n\t\tfmt.Print(key, \" \")\n\t}\n}\n";
const CPP_HASH_MAP: &str = "#include <iostream>\n#include <string>\n#include <unordered_map>\nint main() {\n\
    std::unordered_map<std::string, int> m{{\"one\", 1}, {\"two\", 2}, {\"three\", 3}};\n\
    for (auto& pair : m) std::cout << pair.first << ' ';\n}\n";

#[tokio::test(flavor = "multi_thread")]
async fn surroundings_that_a_program_depends_on_are_found() {
    let Some(sandbox) = common::sandbox("repeat") else { return };
    let first_line = Some("stdout differs from line 1 on");
    for (language, source, expected) in [
        ("python", "print(1)\nprint(sorted({'a', 'b'}))", None),
        (
            "python",
            "print('same')\nprint({'ab', 'cd', 'ef', 'gh', 'ij'})",
            Some("stdout differs from line 2 on"),
        ),
        ("python", "import socket; print(socket.gethostname())", first_line),
        ("python", "import os; print(os.getcwd())", first_line),
        ("python", "import os; print(os.path.expanduser('~'))", first_line),
        ("python", "import time; print(time.strftime('%Y-%m-%d %H'))", first_line),
        ("python", "print(object())", first_line),
        ("python", "print(id([]))", first_line),
        ("python", "import time; print(time.time())", first_line),
        ("python", "class P: pass\nprint({'a': P()})", first_line),
        ("python", "import random; print(random.random())", first_line),
        ("python", "import random; random.seed(1); print(random.random())", None),
        (
            "python",
            "import socket, sys; sys.exit(socket.gethostname() != 'sandbox')",
            Some("RUNTIME_ERROR instead of PASSED"),
        ),
        (
            "python",
            "import os, sys; print(os.getcwd() != '/work' or '', file=sys.stderr, end='')",
            Some("stderr is empty in one run only"),
        ),
        ("python", "import os, sys; sys.exit(1 if os.getcwd() == '/work' else 2)", Some("exit code")),
        ("perl", "my %h = map { $_ => 1 } 'a' .. 'z'; print join(',', keys %h);", first_line),
        ("perl", "my %h = map { $_ => 1 } 'a' .. 'z'; print join(',', sort keys %h);", None),
        ("ruby", "puts 'text'.hash", first_line),
        ("ruby", "puts({ b: 1, a: 2 }.keys.inspect)", None),
        ("javascript", "console.log(new Date().getTimezoneOffset())", first_line),
        ("javascript", "console.log(Object.keys({ b: 1, a: 2 }))", None),
        ("php", "<?php echo gethostname();", first_line),
        ("php", "<?php echo implode(',', array_keys(['b' => 1, 'a' => 2]));", None),
        ("java", JAVA_IDENTITY, first_line),
        ("java", JAVA_STEADY, None),
        ("go", GO_MAP, first_line),
        ("cpp", "#include <iostream>\nint main() { std::cout << new int << std::endl; }", first_line),
        ("cpp", CPP_HASH_MAP, None),
        ("lua", "print({})", first_line),
        ("lua", "print(#{ 1, 2 })", None),
        ("shell", "echo ~", first_line),
        ("shell", "echo $((RANDOM * 0))", None),
    ] {
        let job = Job { language: language.to_owned(), source: source.to_owned(), ..Job::default() };
        let repeated = match run_repeated(&sandbox, &job, 3).await {
            Ok(repeated) => repeated,
            Err(fault) if fault.cause == "toolchain_missing" => {
                common::skip(language, &fault.message);
                continue;
            }
            Err(fault) => panic!("{language}: {fault}"),
        };
        assert_eq!(repeated.verdicts.len(), 3);
        match (expected, &repeated.difference) {
            (None, None) => {}
            (Some(expected), Some(difference)) if difference.contains(expected) => {}
            (_, difference) => panic!("{language}: {source}: {difference:?}, not {expected:?}"),
        }
    }
}

/// A seed set to the usual value each time gives the usual order each time.
#[tokio::test(flavor = "multi_thread")]
async fn the_usual_surroundings_are_the_same_each_time() {
    let Some(sandbox) = common::sandbox("repeat") else { return };
    for (language, source) in [
        (
            "python",
            "import os, socket, time; print({'ab', 'cd', 'ef'}, os.getcwd(), socket.gethostname(), time.tzname)",
        ),
        ("perl", "my %h = map { $_ => 1 } 'a' .. 'z'; print join(',', keys %h), `hostname`, `pwd`;"),
    ] {
        let job = Job { language: language.to_owned(), source: source.to_owned(), ..Job::default() };
        let first = run_repeated(&sandbox, &job, 1).await.unwrap().verdicts.remove(0);
        for _ in 0..3 {
            let again = run_repeated(&sandbox, &job, 1).await.unwrap().verdicts.remove(0);
            assert_eq!(again.stdout, first.stdout, "{language}");
        }
        assert!(!first.stdout.is_empty());
    }
}
