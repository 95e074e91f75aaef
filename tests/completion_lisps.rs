//! Tests of these languages that end in the ways programs do must earn their pass, and no others.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome};

use Outcome::{Passed, RuntimeError, WrongAnswer};

/// Runs `(tests, outcome)` of `language` after `solution`.
async fn check(language: &str, solution: &str, cases: &[(&str, Outcome)]) {
    let Some(sandbox) = common::sandbox(language) else { return };
    for (tests, outcome) in cases {
        let job = Job {
            language: language.to_owned(),
            source: solution.to_owned(),
            tests: Some((*tests).to_owned()),
            limits: LimitOverrides::default(),
            strict: true,
            variation: 0,
            stdin: String::new(),
        };
        match sandbox.run(&job).await {
            Ok(verdict) => assert_eq!(verdict.outcome, *outcome, "{language} {tests}: {verdict:#?}"),
            Err(fault) if fault.cause == "toolchain_missing" => {
                return common::skip(language, &fault.message);
            }
            Err(fault) => panic!("{language} {tests}: {fault}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r() {
    let solution = "library(R6); double <- function(n) 2 * n";
    check(
        "r",
        solution,
        &[
            ("if (double(4) == 8) quit(\"no\", 0) else quit(\"no\", 1) # end", Passed),
            ("if (double(4) == 9) quit(\"no\", 0) else quit(\"no\", 1)", RuntimeError),
            ("stopifnot(double(4) == 8)\nbase::q(save = \"no\")", Passed),
            ("q <- function(x) x\nstopifnot(q(3) == 3)\ncat(\"quit(now) 'x'\")", Passed),
            ("library(testthat)\ntest_that(\"it\", { expect_equal(double(4), 8) })", Passed),
            ("library(testthat)\ntest_that(\"it\", { expect_equal(double(4), 9) })", RuntimeError),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcl() {
    let tcltest = "package require tcltest\nnamespace import ::tcltest::*\n";
    check(
        "tcl",
        "proc double n { expr {2 * $n} }",
        &[
            ("if {[double 4] == 8} { exit 0 } else { exit 1 } ;# end", Passed),
            ("after 5 {set done 1}\nvwait done\nif {[double 4] != 8} {exit 1}\nexit", Passed),
            (&format!("{tcltest}test d-1 {{d}} {{ double 4 }} 8\ncleanupTests"), Passed),
            (&format!("{tcltest}test d-1 {{d}} {{ double 4 }} 9\ncleanupTests\nexit"), WrongAnswer),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emacs_lisp() {
    let ert = "(require 'ert)\n(ert-deftest a () (should (= (double 4) 8)))\n(ert-run-tests-batch-and-exit)";
    let cases = [(ert, Passed), ("(if (= (double 4) 8) (kill-emacs 0) (kill-emacs 1)) ; end", Passed)];
    check("emacs_lisp", "(defun double (n) (* 2 n))", &cases).await;
    check("emacs_lisp", "(defun double (n) (kill-emacs 0))", &[(ert, WrongAnswer)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vimscript() {
    let errors = "if !empty(v:errors)\n  cquit\nendif\n";
    check(
        "vimscript",
        "function! Double(n)\n  return 2 * a:n\nendfunction",
        &[
            ("if Double(4) == 8 | echo 'ok' | qa! | else | cq | endif", Passed),
            (&format!("call assert_equal(8, Double(4))\n{errors}quitall! \" end"), Passed),
            (&format!("call assert_equal(8, Double(4))\n{errors}finish\nabsent"), Passed),
            (&format!("call assert_equal(9, Double(4))\n{errors}finish"), RuntimeError),
            ("throw 'wrong'", WrongAnswer),
        ],
    )
    .await;
    let vim9 = "vim9script\ndef g:Double(n: number): number\n  return 2 * n\nenddef";
    check("vimscript", vim9, &[("if g:Double(4) != 8\n  cquit\nendif", Passed)]).await;
    let cheat = "function! Double(n)\n  silent! quitall!\nendfunction";
    check("vimscript", cheat, &[("if Double(4) != 8 | cquit | endif", WrongAnswer)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn awk() {
    check(
        "awk",
        "function double(n) { return 2 * n }",
        &[
            ("BEGIN { if (double(4) == 8) { print \"ok; exit now\"; exit 0 } else exit 1 }", Passed),
            ("BEGIN { if (double(4) != 8) exit 1; else exit 0; }", Passed),
            ("BEGIN { if (double(4) != 8) f++ }\nEND { exit (f > 0) ? 1 : 0 } # end", Passed),
            ("END { if (double(4) != 9) { exit 1 } }", RuntimeError),
        ],
    )
    .await;
    check("awk", "function double(n) { exit 0 }", &[("END { if (double(4) != 8) exit 1 }", WrongAnswer)])
        .await;
    check("awk", "BEGIN { exit 0 }", &[("BEGIN { exit 1 }", WrongAnswer)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let expect = "CREATE TEMP TABLE expect(ok CHECK (ok IS TRUE));\nINSERT INTO expect SELECT";
    check(
        "sqlite",
        "CREATE TABLE t(x);",
        &[
            (&format!("{expect} count(*) = 0 FROM t;\n.quit"), Passed),
            (&format!("{expect} NULL;"), WrongAnswer),
            ("SELECT CASE WHEN 1 = 1 THEN 'ok' ELSE abs(-9223372036854775808) END -- end", Passed),
            ("SELECT CASE WHEN 1 = 2 THEN 'ok' ELSE abs(-9223372036854775808) END", RuntimeError),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn common_lisp() {
    let apart = "(defpackage :apart (:use :cl :cl-user))\n(in-package :apart)\n(assert (= (twice 4) 8))\n";
    check(
        "common_lisp",
        "(defun twice (n) (* 2 n))",
        &[
            (
                "(defun main () (if (= (twice 4) 8) (exit :code 0) (quit :unix-status 1)))\n(main) ; end",
                Passed,
            ),
            (&format!("{apart}(sb-ext:quit)"), Passed),
            (&format!("{apart}(exit)"), RuntimeError),
            (
                "(require :asdf)(asdf:load-system :fiveam)(fiveam:test a (fiveam:is (= 8 (twice 4))))\n\
              (fiveam:run! 'a)(uiop:quit 0)",
                Passed,
            ),
        ],
    )
    .await;
    let hooked = "(push (lambda () (sb-ext:exit :code 0 :abort t)) sb-ext:*exit-hooks*)\n\
                  (defun twice (n) (sb-ext:exit :code n))";
    check("common_lisp", hooked, &[(apart, WrongAnswer)]).await;
    let package = "(defpackage #:sol (:use #:cl) (:export #:d))\n(in-package #:sol)\n(defun d (n) (* 2 n))";
    let there = "(in-package :cl-user)\n(assert (= (d 4) (sol:d 4) 8))\n(use-package :sol)";
    check("common_lisp", package, &[(there, Passed)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racket_and_scheme() {
    let suite = "#lang racket/base\n(require rackunit rackunit/text-ui)\n\
                 (exit (if (zero? (run-tests (test-suite \"a\" (check-equal? (double 4) 8)))) 0 1)) ; end";
    check(
        "racket",
        "#lang racket\n(define (double n) (* 2 n))",
        &[
            (suite, Passed),
            ("(module+ test (require rackunit) (check-equal? (double 4) 8))", Passed),
            ("(module+ test (require rackunit) (check-equal? (double 4) 9))", WrongAnswer),
            ("(unless (= (double 4) 8) (exit 1))\n(exit 0)", Passed),
        ],
    )
    .await;
    let cheats = [("(unless (= (double 4) 8) (exit 1))", RuntimeError)];
    check("racket", "#lang racket\n(define (double n) (kill-thread (current-thread)))", &cheats).await;
    let module = "(module sol racket/base (provide double) (define (double n) (* 2 n)))";
    check("scheme", module, &[("#lang racket\n(check-equal? (double 4) 8)", Passed)]).await;
}
