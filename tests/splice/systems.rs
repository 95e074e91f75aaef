//! C, Rust, Go, Haskell, Erlang, Fortran, Pascal, Swift and Dart.

use proptest::prelude::*;

use super::{LANGUAGES, splice, whole};

#[test]
fn c_drops_the_main_of_the_solution_only_when_the_tests_have_one() {
    let solution = "int f(void) { return 1; }\nint main(void) { return 2; }\n";
    let spliced = splice("c", solution, "int main(void) { return f(); }\n").source;
    assert_eq!(spliced, "int f(void) { return 1; }\n\n\nint main(void) { return f(); }\n");
    assert!(splice("c", solution, "/* int main(void) {} */").source.contains("return 2"));
}

/// Precompiled headers are used only where the program includes them before anything that could tell the difference.
#[test]
fn cpp_takes_precompiled_headers_that_the_program_starts_with() {
    let include_of = |source: &str| {
        let compile = whole("cpp", source).compile.unwrap();
        let at = compile.iter().position(|argument| argument == "-include");
        at.map(|at| compile[at + 1].clone()).unwrap_or_default()
    };
    let main = "int main() {}";
    assert_eq!(include_of(&format!("// text\n# include <bits/stdc++.h>\n{main}")), "{warm}/usual.h");
    assert_eq!(include_of(&format!("#include <map>\n#include <bits/stdc++.h>\n{main}")), "{warm}/usual.h");
    for tells in [
        "std::future<int> f;",
        "#include <filesystem>",
        "auto s = \"async\";",
        "#define JOIN(a, b) a##b\nJOIN(fut, ure)<int> f;",
        "fut\\\nure<int> f;",
        "#include <llvm/Support/ThreadPool.h>",
        "#import <toml.hpp>",
        "#if __has_include(<boost/any.hpp>)\n#endif",
    ] {
        let source = format!("#include <bits/stdc++.h>\nusing namespace std;\n{tells}\n{main}");
        assert_eq!(include_of(&source), "{warm}/everything.h", "{tells}");
    }
    assert_eq!(
        include_of(&format!("#include <vector>\n#include <string>\n#include <iostream>\n{main}")),
        "{warm}/containers.h"
    );
    assert_eq!(include_of(&format!("#include <iostream>\n{main}\n#include <vector>\n")), "{warm}/streams.h");
    for source in [
        "#define _GLIBCXX_DEBUG\n#include <bits/stdc++.h>\n",
        "int n;\n#include <bits/stdc++.h>\n",
        "#if 0\n#include <bits/stdc++.h>\n#endif\n",
        "const char *text = R\"(\n#include <bits/stdc++.h>\n)\";\n",
        "#include <cstdio>\n",
    ] {
        assert_eq!(include_of(&format!("{source}{main}")), "", "{source}");
    }
    let spliced = splice("cpp", "int f() { return 1; }", "int main() { return f(); }");
    assert!(spliced.compile.unwrap().contains(&"{warm}/streams.h".to_owned()));
}

#[test]
fn rust_programs_with_an_allocator_are_linked_statically() {
    let way = |solution: &str| splice("rust", solution, "fn main() {}").compile.unwrap().join(" ");
    assert!(way("fn f() {}").contains("prefer-dynamic=yes"));
    assert!(way("#[global_allocator]\nstatic A: S = S;").contains("prefer-dynamic=no"));
}

#[test]
fn rust_is_built_as_tests_when_it_has_some() {
    let is_test = |solution: &str, tests: &str| {
        splice("rust", solution, tests).compile.unwrap().contains(&"--test".to_owned())
    };
    assert!(is_test("fn f() {}", "#[test]\nfn a() { f() }"));
    assert!(is_test(
        "fn f() {}\nfn main() {}",
        "#[cfg(test)]\nmod tests { # [ test ] fn a() {}  #[test] fn b() {} }"
    ));
    assert!(!is_test("fn f() {}", "fn main() { f() }"));
    // A main that the tests bring is what runs them.
    assert!(!is_test("#[test]\nfn own() {}", "fn main() {}"));
    for hidden in [
        "// #[test]",
        "/* /* */ #[test] */",
        "const A: &str = \"#[test]\";",
        "const A: &str = r##\"\"# #[test]\"##;",
        "fn a<'a>(x: &'a str) -> char { '\"' } // \" #[test]",
    ] {
        assert!(!is_test(hidden, "fn main() {}"), "{hidden}");
        assert!(!is_test("", &format!("{hidden}\nfn main() {{}}")), "{hidden}");
    }
}

#[test]
fn haskell_merges_what_must_stand_first_and_keeps_the_main_of_the_tests() {
    let solution = r#"{-# LANGUAGE TupleSections #-}
{- | module Not where
import Not.Me -}
module Solution
  ( f
) where

import Data.List (sort)
import qualified Data.Map as Map

text :: String
text = "\
  \import Data.Char"

f :: Int -> Int
f x' = x'
main :: IO ()
main = print (f 1)
mainly = 1
"#;
    let tests = "{-# LANGUAGE TupleSections #-}\nmodule Main where\nimport Solution\nimport   Data.List (sort)\nimport Control.Monad\n\nmain = print (f 2)\n";
    insta::assert_snapshot!(splice("haskell", solution, tests).source, @r##"
    {-# LANGUAGE TupleSections #-}
    import Data.List (sort)
    import qualified Data.Map as Map
    import Control.Monad

    {- | module Not where
    import Not.Me -}
    text :: String
    text = "\
      \import Data.Char"

    f :: Int -> Int
    f x' = x'
    mainly = 1

    main = print (f 2)
    "##);
}

#[test]
fn erlang_is_named_after_its_module_and_exports_its_test() {
    let solution = "%% -module(not_this).\n-module(shapes).\n-export([area/1]).\n-record(box, {a = \".\", b = $.}).\n\narea(B) -> B#box.a.\n";
    let tests = "-module(shapes_tests).\n-include_lib(\"eunit/include/eunit.hrl\").\n-import(shapes, [area/1]).\n-record(box, {a = \".\", b = $.}).\n\nhelper() -> \"test() -> ok. \".\n\ntest() -> ok.\n";
    let spliced = splice("erlang", solution, tests);
    assert_eq!(spliced.file_name, "shapes.erl");
    assert!(spliced.run.contains(&"shapes".to_owned()));
    insta::assert_snapshot!(spliced.source, @r##"
    -module(shapes).
    -export([test/0]).
    -export([area/1]).
    -record(box, {a = ".", b = $.}).
    -include_lib("eunit/include/eunit.hrl").


    area(B) -> B#box.a.



    helper() -> "test() -> ok. ".

    test() -> ok.
    "##);
    let unexported = splice("erlang", solution, "helper() -> \"\ntest() -> ok. \".\n");
    assert!(!unexported.source.contains("test/0"));
    // No file outside the work folder.
    assert_eq!(whole("erlang", "-module('../../x').\n").file_name, "test.erl");
}

#[test]
fn fortran_has_one_main_program() {
    let solution = r#"module m
contains
  pure integer function f(n) result(r)
    integer, intent(in) :: n
    character(len=20) :: text = "end module; program x"
    if (n > 0) then
      r = n
    end if
  end function f
end module m
! program comment
program demo
  use m
  print *, f(1)
contains
  subroutine s()
  end subroutine
end program demo
subroutine after()
end
"#;
    let tests = "program t\n  use m\n  if (f(1) /= 1) error stop\nend program t\n";
    insta::assert_snapshot!(splice("fortran", solution, tests).source, @r##"
    module m
    contains
      pure integer function f(n) result(r)
        integer, intent(in) :: n
        character(len=20) :: text = "end module; program x"
        if (n > 0) then
          r = n
        end if
      end function f
    end module m
    ! program comment
    subroutine after()
    end

    program t
      use m
      if (f(1) /= 1) error stop
    end program t
    "##);
    assert!(splice("fortran", solution, "subroutine s2()\nend subroutine\n").source.contains("program demo"));
}

#[test]
fn pascal_is_one_program_that_runs_the_tests_on_the_solution() {
    let solution = r#"program Solution; { program Not; begin end. }
{$mode objfpc}
uses SysUtils;
const Limit = 3; Name = 'begin end.';
type
  PNode = ^TNode;
  TNode = record
    Value: Integer;
    Next: PNode;
  end;
  TStack = class(TObject)
    procedure Push(n: Integer);
  end;
var i, j: Integer;

procedure TStack.Push(n: Integer);
var seen: record a: Integer; end;
  function Inner: Integer;
  begin
    case n of 1: Inner := 1; else Inner := 2; end;
  end;
begin
  seen.a := Inner;
end;

function Twice(n: Integer): Integer;
begin
  Twice := 2 * n;
end;

begin
  WriteLn(Twice(1));
end.
"#;
    let tests = r#"program Tests;
uses Math, sysutils;
var i, k: Integer;
function Twice(n: Integer): Integer;
begin
  Twice := 99;
end;
procedure Check(ok: Boolean); forward;
procedure Check(ok: Boolean);
begin
  if not ok then Halt(1);
end;
begin
  Check(Twice(4) = 8);
end.
"#;
    insta::assert_snapshot!(splice("pascal", solution, tests).source, @r##"
    {$mode objfpc}
    program Tests;
    uses SysUtils, Math;
    const
      Limit= 3;
      Name= 'begin end.';
    type
      PNode= ^TNode;
      TNode= record
        Value: Integer;
        Next: PNode;
      end;
      TStack= class(TObject)
        procedure Push(n: Integer);
      end;
    var
      i, j: Integer;
    procedure TStack.Push(n: Integer);
    var seen: record a: Integer; end;
      function Inner: Integer;
      begin
        case n of 1: Inner := 1; else Inner := 2; end;
      end;
    begin
      seen.a := Inner;
    end;

    function Twice(n: Integer): Integer;
    begin
      Twice := 2 * n;
    end;

    var
      k: Integer;
    procedure Check(ok: Boolean); forward;

    procedure Check(ok: Boolean);
    begin
      if not ok then Halt(1);
    end;

    begin
      Check(Twice(4) = 8);
    end.
    "##);
}

#[test]
fn pascal_makes_a_unit_part_of_the_program() {
    let unit = "unit Nums; interface function F(n: Integer): Integer; implementation function F(n: Integer): Integer; begin F := n end; end.";
    let spliced =
        splice("pascal", unit, "program T; uses Nums, SysUtils; begin Assert(F(1) = 1) end.").source;
    insta::assert_snapshot!(spliced, @r##"
    program Tests;
    uses SysUtils;
    function F(n: Integer): Integer; forward;

    function F(n: Integer): Integer; begin F := n end;

    begin Assert(F(1) = 1)
    end.
    "##);
}

#[test]
fn swift_imports_the_mathematics_it_uses() {
    assert!(splice("swift", "let a = sqrt(2.0)", "assert(a > 1)").source.starts_with("import Foundation\n"));
    for (solution, tests) in [
        ("import Glibc\nlet a = sqrt(2.0)", ""),
        ("func pow(_ a: Int) -> Int { a }", "// sqrt(2.0)"),
        ("let a = x.round()", "let b = \"sqrt(2)\""),
    ] {
        assert_eq!(splice("swift", solution, tests).source, format!("{solution}\n{tests}"));
    }
}

#[test]
fn dart_directives_come_first_and_once() {
    let spliced = splice(
        "dart",
        "// import 'a';\nimport 'dart:math';\n\nint f() => max(1, 2);\nvar t = \"import 'b';\";",
        "import 'dart:math';\nimport 'dart:io' as io;\n\nvoid main() { assert(f() == 2); }\n",
    );
    insta::assert_snapshot!(spliced.source, @r##"
    import 'dart:math';
    import 'dart:io' as io;


    int f() => max(1, 2);
    var t = "import 'b';";


    void main() { assert(f() == 2); }
    "##);
}

/// The code that tells of the end of the tests goes where the tests end.
#[test]
fn the_end_of_the_tests_is_found() {
    let strict =
        |name: &str, tests: &str| splice::splice(LANGUAGES.get(name).unwrap(), "", tests, true).source;
    let go =
        strict("go", "package main\n\n// func main() {}\nvar text = `\nfunc main() {`\n\nfunc main() {}\n");
    assert!(go.contains("func autocodegenTests() {}") && go.contains("\nfunc main() {`"), "{go}");
    let pascal = strict("pascal", "program T;\nbegin\n  WriteLn('end.')\nend.\n");
    assert!(pascal.contains("WriteLn('end.')\n;AutocodegenCompletion.Completed;\nend.\n"), "{pascal}");
}

proptest! {
    /// What stands in strings and comments stays.
    #[test]
    fn text_survives(text in "[a-z (){};=.#\\[\\]]{0,40}") {
        // The name that the tests' declaration gets below.
        prop_assume!(!text.contains("s ="));
        for (language, quoted) in [
            ("c", format!("const char *s = \"{text}\"; /* {text} */\n")),
            ("rust", format!("const S: &str = \"{text}\"; // {text}\n")),
            ("haskell", format!("s = \"{text}\" {{- {text} -}}\n")),
            ("erlang", format!("s() -> \"{text}\". % {text}\n")),
            ("fortran", format!("print *, \"{text}\" ! {text}\n")),
            ("pascal", format!("const S = '{text}';\n")),
            ("dart", format!("var s = '{text}'; // {text}\n")),
        ] {
            let program = if language == "pascal" { format!("{quoted}begin end.") } else { quoted.clone() };
            let spliced = splice(language, &program, &program.replace(" S ", " T ").replace("s =", "t ="));
            prop_assert!(spliced.source.matches(&text).count() >= 2, "{}: {}", language, spliced.source);
        }
    }

    #[test]
    fn no_systems_program_breaks_splicing(
        solution in "((module|where|import|main|program|end|begin|record|class|type|var|function|unit|-module|test|case) ?|[(){}\\[\\];=:.,'\"$%!#-]|\\(\\*|\\*\\)|\\{-|-\\}| |\n|é){0,50}",
        strict: bool,
    ) {
        for name in ["c", "rust", "haskell", "erlang", "fortran", "pascal", "swift", "dart", "go"] {
            splice::splice(LANGUAGES.get(name).unwrap(), &solution, &solution, strict);
            splice::whole(LANGUAGES.get(name).unwrap(), &solution);
        }
    }
}
