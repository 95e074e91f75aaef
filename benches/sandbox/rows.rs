//! What is measured: one small program per language, and the command by which the reference service runs it.

/// One line of the table.
pub struct Row {
    pub name: &'static str,
    /// Canonical language name; rows of languages that cannot be run here are skipped.
    pub language: &'static str,
    /// The program; `@@` becomes another number each time, so that no two are equal.
    pub source: &'static str,
    /// What its file is called where it is run plainly.
    pub file: &'static str,
    /// The reference's commands, run one after the other. `{name}` is the path that the language file gives a program
    /// or file of its toolchain.
    pub plain: &'static [&'static [&'static str]],
    /// Rate to reach, in rates of the plain commands; `None` when only the time in the jail counts.
    pub target: Option<f64>,
}

/// The language of the row `true`: nothing but the jail.
pub const TRUE: &str = r#"
name = "true"
file_name = "test"
run = ["/bin/true"]
[toolchain]
version = ["/bin/true", "--version"]
[toolchain.programs.true]
install = { apt = "coreutils" }
[probe]
passing = { source = "", outcome = "PASSED" }
failing = { source = "", outcome = "PASSED" }
crashing = { source = "", outcome = "PASSED" }
looping = { source = "", outcome = "PASSED" }
"#;

const C: &str = "#include <stdio.h>\nint main(void) { printf(\"hello %d\\n\", @@); return 0; }\n";

const CPP: &str = r#"#include <bits/stdc++.h>
using namespace std;
int main() {
    vector<int> numbers{3, 1, 2, @@};
    sort(numbers.begin(), numbers.end());
    cout << numbers.front() << endl;
}
"#;

const JAVA: &str = r#"import org.junit.jupiter.api.Test;
import static org.junit.jupiter.api.Assertions.*;

class Numbers {
    static long twice(long n) { return 2 * n; }
}

class NumbersTest {
    @Test
    void test() { assertEquals(2 * @@L, Numbers.twice(@@L)); }
}
"#;

const GO: &str = r#"package main

import (
	"fmt"
	"testing"
)

func twice(n int) int { return 2 * n }

func TestTwice(t *testing.T) {
	if fmt.Sprint(twice(@@)) == "" {
		t.Fatal("twice")
	}
}
"#;

const RUST: &str = r#"pub fn twice(n: u64) -> u64 {
    2 * n
}

#[cfg(test)]
mod tests {
    #[test]
    fn test() {
        assert_eq!(super::twice(@@), 2 * @@);
    }
}
"#;

const ERLANG: &str = "-module(test).\n-export([test/0]).\ntest() -> io:format(\"hello ~p~n\", [@@]).\n";

pub const ROWS: &[Row] = &[
    row("true", "true", "@@", "test", &[&["/bin/true"]], None),
    row("python", "python", "print('hello', @@)\n", "test.py", &[&["{python3}", "test.py"]], Some(4.0)),
    row("cpp", "cpp", CPP, "test.cpp", &[&["{g++}", "-o", "test", "test.cpp"], &["./test"]], Some(4.0)),
    row(
        "java",
        "java",
        JAVA,
        "Main.java",
        &[
            &["{javac}", "-d", "classes", "-cp", "{junit}", "Main.java"],
            &[
                "{java}",
                "-ea",
                "-cp",
                "classes:{junit}",
                "org.junit.platform.console.ConsoleLauncher",
                "--scan-classpath",
                "classes",
            ],
        ],
        Some(10.0),
    ),
    row(
        "javascript",
        "javascript",
        "console.log('hello', @@);\n",
        "test.js",
        &[&["{node}", "test.js"]],
        Some(1.5),
    ),
    row(
        "typescript",
        "typescript",
        "const n: number = @@;\nconsole.log('hello', n);\n",
        "test.ts",
        &[&["npx", "tsx", "test.ts"]],
        Some(5.0),
    ),
    row("go", "go", GO, "main_test.go", &[&["{go}", "test", "main_test.go"]], Some(2.0)),
    row("rust", "rust", RUST, "src/lib.rs", &[&["cargo", "test", "--offline"]], Some(3.0)),
    row(
        "kotlin",
        "kotlin",
        "println(\"hello ${@@}\")\n",
        "test.kts",
        &[&["{home}/bin/kotlinc", "-script", "test.kts"]],
        Some(5.0),
    ),
    row(
        "scala",
        "scala",
        "println(\"hello \" + @@)\n",
        "test.sc",
        // What the command `scala` runs; no package brings the reference's Ammonite.
        &[&[
            "{java}",
            "-cp",
            "{compiler}:{library}:{reflect}",
            "scala.tools.nsc.MainGenericRunner",
            "-usejavacp",
            "-nc",
            "test.sc",
        ]],
        Some(5.0),
    ),
    row(
        "c",
        "c",
        C,
        "test.c",
        &[&["{gcc}", "-o", "test", "test.c", "-lm", "-lpthread", "-lcurl", "-lssl", "-lcrypto"], &["./test"]],
        None,
    ),
    row("ruby", "ruby", "puts 'hello', @@\n", "test.rb", &[&["ruby", "test.rb"]], None),
    row("perl", "perl", "print 'hello', @@;\n", "test.pl", &[&["perl", "test.pl"]], None),
    row("lua", "lua", "print('hello', @@)\n", "test.lua", &[&["lua", "test.lua"]], None),
    row("php", "php", "<?php echo 'hello', @@;\n", "test.php", &[&["php", "test.php"]], None),
    row("shell", "shell", "echo hello @@\n", "test.sh", &[&["bash", "test.sh"]], None),
    row("r", "r", "print(@@)\n", "test.R", &[&["Rscript", "test.R"]], None),
    row("tcl", "tcl", "puts @@\n", "test.tcl", &[&["tclsh", "test.tcl"]], None),
    row(
        "haskell",
        "haskell",
        "main :: IO ()\nmain = print (@@ :: Integer)\n",
        "test.hs",
        &[&["ghc", "-O2", "test.hs"], &["./test"]],
        None,
    ),
    row(
        "erlang",
        "erlang",
        ERLANG,
        "test.erl",
        &[&["erlc", "test.erl"], &["erl", "-noshell", "-s", "test", "test", "-s", "init", "stop"]],
        None,
    ),
    row("elixir", "elixir", "IO.puts(\"hello #{@@}\")\n", "test.ex", &[&["elixir", "test.ex"]], None),
    row(
        "racket",
        "racket",
        "#lang racket\n(displayln @@)\n",
        "test.rkt",
        &[&["raco", "test", "test.rkt"]],
        None,
    ),
    row(
        "common-lisp",
        "common lisp",
        "(print @@)\n",
        "test.lisp",
        &[&["sbcl", "--script", "test.lisp"]],
        None,
    ),
    row("groovy", "groovy", "println @@\n", "test.groovy", &[&["groovy", "test.groovy"]], None),
];

const fn row(
    name: &'static str,
    language: &'static str,
    source: &'static str,
    file: &'static str,
    plain: &'static [&'static [&'static str]],
    target: Option<f64>,
) -> Row {
    Row { name, language, source, file, plain, target }
}
