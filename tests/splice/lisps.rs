//! Racket, Scheme, Common Lisp, Tcl, PowerShell, and those that need no more than one text after the other.

use proptest::prelude::*;

use super::{splice, whole};

#[test]
fn scripts_are_one_text_after_the_other() {
    for language in ["r", "julia", "emacs_lisp", "vimscript", "awk", "sqlite"] {
        assert_eq!(splice(language, "a", "b").source, "a\nb", "{language}");
    }
}

#[test]
fn racket_has_one_language_line() {
    let solution = r##"; #lang racket is the language
#lang racket/base
#| #lang #| nested |# typed |#
(define text "#lang racket")
(define here #<<END
#lang in here text
END
  )
(define (double n) (* 2 n))
"##;
    let tests = "#lang racket\n(require rackunit)\n(check-equal? (double 4) 8)\n";
    insta::assert_snapshot!(splice("racket", solution, tests).source, @r##"
    #lang racket
    ; #lang racket is the language
    #| #lang #| nested |# typed |#
    (define text "#lang racket")
    (define here #<<END
    #lang in here text
    END
      )
    (define (double n) (* 2 n))

    (require rackunit)
    (check-equal? (double 4) 8)
    "##);
    let language = |solution: &str, tests: &str| {
        splice("racket", solution, tests).source.lines().next().unwrap().to_owned()
    };
    assert_eq!(language("(f)", "(g)"), "#lang racket");
    assert_eq!(language("#lang typed/racket\n(f)", "#lang racket\n(g)"), "#lang typed/racket");
    assert_eq!(language("(f)", "#lang lazy\n(g)"), "#lang lazy");
    assert_eq!(whole("racket", "#lang racket\n#lang").source, "#lang racket\n#lang");
}

#[test]
fn scheme_sees_the_modules_of_the_solution_and_the_checks_it_uses() {
    let solution = "(module numbers racket\n  (provide double)\n  (define (double n) (* 2 n)))";
    let tests = "(check-equal? (double 4) 8)";
    insta::assert_snapshot!(splice("scheme", solution, tests).source, @r#"
    #lang racket
    (require rackunit)
    (module numbers racket
      (provide double)
      (define (double n) (* 2 n)))
    (require (submod "." numbers))
    (check-equal? (double 4) 8)
    "#);
    let added = |solution: &str, tests: &str| {
        let source = splice("scheme", solution, tests).source;
        (source.contains("(require rackunit)"), source.contains("(submod \".\""))
    };
    assert_eq!(added("(define x 1)", "(require rackunit)\n(check-true x)"), (true, false));
    assert_eq!(added("(define (check-it x) x)", "(check-it 1)"), (false, false));
    assert_eq!(added("(define x 1)", "(display \"check-true\") ; check-true"), (false, false));
    assert_eq!(added("(module a racket) (require 'a)", ""), (false, false));
    assert_eq!(added("(module+ test (f)) (module main racket (g)) '(module b racket)", ""), (false, false));
    assert_eq!(added("; (module a racket)\n\"(module b racket)\"", ""), (false, false));
}

#[test]
fn common_lisp_moves_the_solution_into_the_package_the_tests_define() {
    let solution = r#"(defpackage #:numbers
  (:use #:cl)
  (:documentation "Is (in-package :nowhere).")
  (:export #:double))
(in-package #:numbers)

; (in-package :comment)
(defun double (n) "(in-package :text) \" (" (* 2 n))
(defun paren () (list #\( #\) #\" '|a ( b|)) #| (in-package :x) |#
"#;
    let tests = "(defpackage :numbers-test\n  (:use :cl :numbers)\n  (:import-from :numbers :double))\n\
                 (in-package :numbers-test)\n(assert (= (numbers:double 4) 8))\n";
    insta::assert_snapshot!(splice("common_lisp", solution, tests).source, @r##"
    (defpackage :numbers-test
      (:use :cl )
      
      (:nicknames "NUMBERS")
      (:use #:cl)
      (:export #:double))
    (in-package :numbers-test)

    ; (in-package :comment)
    (defun double (n) "(in-package :text) \" (" (* 2 n))
    (defun paren () (list #\( #\) #\" '|a ( b|)) #| (in-package :x) |#

    (assert (= (numbers:double 4) 8))
    "##);
}

#[test]
fn common_lisp_imports_the_solution_into_a_package_that_is_there() {
    let solution = "(defpackage :sol (:use :cl))\n(in-package :sol)\n(defun f () 1)";
    let tests = "(in-package :cl-user)\n(f)";
    let source = splice("common_lisp", solution, tests).source;
    let imported = source.strip_prefix(&format!("{solution}\n(in-package :cl-user)\n")).unwrap();
    assert!(imported.starts_with("(cl:do-symbols (cl-user::s \"SOL\")") && imported.ends_with("\n(f)"));
}

#[test]
fn common_lisp_texts_of_one_package_follow_each_other() {
    for (solution, tests) in [
        ("(defun f () 1)", "(f)"),
        ("(in-package :cl-user)(defun f () 1)", "(in-package \"COMMON-LISP-USER\")(f)"),
        ("(defpackage :s)(in-package :s)(f)", "(cl:in-package #:s)(f)"),
        ("(defpackage :s)(in-package :s)(f)", "(f)"),
        // More packages than can be told apart.
        ("(in-package :a)(in-package :b)", "(defpackage :t)(in-package :t)"),
        ("(f)", "(in-package :t)(defpackage :t"),
    ] {
        let source = splice("common_lisp", solution, tests).source;
        let appended = source == format!("{solution}\n{tests}");
        assert!(appended || tests.starts_with("(in-package :t)"), "{source}");
    }
}

#[test]
fn tcl_has_one_first_line() {
    let spliced = splice("tcl", "#!/usr/bin/tclsh\nputs a", "\n#!/usr/bin/env tclsh\nputs \"#!b\"\n#!c");
    assert_eq!(spliced.source, "#!/usr/bin/tclsh\nputs a\nputs \"#!b\"\n#!c");
    assert_eq!(splice("tcl", "puts a", "puts b").source, "puts a\nputs b");
    assert_eq!(splice("tcl", "puts a", "#!/bin/tclsh").source, "puts a\n");
}

#[test]
fn powershell_solutions_write_nothing_outside_their_functions() {
    let solution = r#"# Write-Output in a comment
<#
Write-Output in a comment
#>
function Get-It {
    Write-Output "kept"
}
$text = @"
Write-Output "in text"
"@
$more = "(
Write-Output in text"
Write-Output "gone"; write-output (Get-It |
    Sort-Object)
if ($true) { Write-Output 'inside' }
1..3 |
Write-Output
$x = 'it''s'
  Write-Output "a `" $(f ")") b"
"#;
    insta::assert_snapshot!(splice("powershell", solution, "Write-Output 'tests'").source, @r##"
    # Write-Output in a comment
    <#
    Write-Output in a comment
    #>
    function Get-It {
        Write-Output "kept"
    }
    $text = @"
    Write-Output "in text"
    "@
    $more = "(
    Write-Output in text"
    $null = Write-Output "gone"; $null = write-output (Get-It |
        Sort-Object)
    if ($true) { Write-Output 'inside' }
    1..3 |
    Write-Output
    $x = 'it''s'
      $null = Write-Output "a `" $(f ")") b"

    Write-Output 'tests'
    "##);
}

/// Lisp around a string and comments that must come through as they are.
fn lisp() -> impl Strategy<Value = (String, String)> {
    let text = "[a-z ()#|;]{0,12}";
    (text, "[a-z ()\";]{0,12}", "[a-z(]{0,8}").prop_map(|(text, comment, name)| {
        let kept = format!("\"(in-package :x) {text}\" ; #lang {comment}\n#\\( '|{name}|");
        (format!("(defun f () {kept})"), kept)
    })
}

proptest! {
    #[test]
    fn strings_and_comments_of_lisp_survive((solution, kept) in lisp()) {
        let tests = "(defpackage :t (:use :cl))\n(in-package :t)\n(f)";
        let source = splice("common_lisp", &solution, tests).source;
        prop_assert!(source.contains(&kept), "{}", source);
        let entered = source.find("(in-package :t)").unwrap();
        prop_assert!(source.find(&kept).unwrap() > entered && source.ends_with("(f)"), "{}", source);
        let source = splice("racket", &format!("#lang racket\n{solution}"), "#lang racket\n(f)").source;
        prop_assert_eq!(source, format!("#lang racket\n{solution}\n(f)"));
    }

    #[test]
    fn broken_lisp_is_spliced_all_the_same(
        solution in "(\\(|\\)|\\[|\"|#\\||\\|#|;|\\||#\\\\|#<<E|#lang |\\(in-package |:a|\\(defpackage |é|\\\\|\n| ){0,40}",
        tests in "(\\(|\\)|\"|#\\||\\|#|;|\\(in-package :b\\)|\\(defpackage :b |:use|\\(module |é|\n| ){0,40}",
    ) {
        for language in ["racket", "scheme", "common_lisp", "powershell", "tcl"] {
            splice(language, &solution, &tests);
            splice(language, &tests, &solution);
        }
    }
}
