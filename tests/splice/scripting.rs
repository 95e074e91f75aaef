//! PHP's tags, Lua's modules, data sections of Perl and Ruby, TypeScript, and tests that code is put around.

use super::*;

fn strict(language: &str, solution: &str, tests: &str) -> String {
    splice::splice(LANGUAGES.get(language).unwrap(), solution, tests, true).source
}

#[test]
fn php_has_one_opening_tag() {
    let solution =
        "<?php\n// ends with ?>\n<?php\nfunction f() { return '?>' . \"\n?>\"; } /* ?> */ # x\n?>\n\n";
    let tests = "\n<?php\nassert(f() === '?>');\n?>\n";
    let source = splice("php", solution, tests).source;
    insta::assert_snapshot!(source, @r#"
    <?php
    // ends with ?>
    <?php
    function f() { return '?>' . "
    ?>"; } /* ?> */ # x

    assert(f() === '?>');
    ?>
    "#);
}

#[test]
fn php_closing_tags_end_statements_and_text_stays() {
    assert_eq!(splice("php", "<?php $a = 1 ?>", "<?php f();").source, "<?php $a = 1 \n;\nf();");
    assert_eq!(splice("php", "$a = 1;", "f();").source, "<?php\n$a = 1;\nf();");
    assert_eq!(
        splice("php", "<?php $a = 1; ?>\n<b>", "<?php f();").source,
        "<?php $a = 1; ?>\n<b>\n<?php\nf();"
    );
    let here = "<?php\n$a = <<<'X'\n?>\n<?php exit;\n  X . 'b';\n?>";
    assert!(splice("php", here, "<?php f();").source.starts_with(&here[..here.len() - 2]));
}

#[test]
fn php_strict_types_stay_first() {
    let first = "<?php\ndeclare(strict_types=1);\n$a = 1;";
    let source =
        splice("php", first, "<?php\n// declare(strict_types=1);\ndeclare(strict_types=1);\nf();").source;
    assert_eq!(source, format!("{first}\n// declare(strict_types=1);\n\nf();"));
    let ticks = splice("php", "<?php", "<?php declare(ticks=1); f();").source;
    assert!(ticks.contains("declare(ticks=1);"));
}

#[test]
fn php_tests_tell_that_they_exit() {
    let tests = "<?php\nif ($a->exit(1)) exit;\nA::exit(2); exit(f(1) ? 0 : 1); die('x)'); echo 'exit(3)'; // exit\n?>\n";
    insta::assert_snapshot!(strict("php", "<?php ?>", tests), @r"
    <?php 
    \TestsOfProgram::begin();
    if ($a->exit(1)) exit(\TestsOfProgram::exit());
    A::exit(2); exit(\TestsOfProgram::exit(f(1) ? 0 : 1)); die(\TestsOfProgram::exit('x)')); echo 'exit(3)'; // exit

    \TestsOfProgram::end();
    ");
}

#[test]
fn lua_modules_are_found_by_require() {
    let solution = "-- return nothing\nlocal function f(n)\n  if n then return 0 end\n  while true do return [[\nreturn]] end\nend\n\nreturn f -- the module\n";
    let tests = "local f = require('count.f')\nlocal u = require \"luaunit\"\nassert(f(1) == 0)\n";
    insta::assert_snapshot!(splice("lua", solution, tests).source, @r#"
    -- return nothing
    local function f(n)
      if n then return 0 end
      while true do return [[
    return]] end
    end

    local solution__ = f -- the module

    if not package.loaded['count.f'] and not package.searchpath('count.f', package.path) and not package.searchpath('count.f', package.cpath) then package.preload['count.f'] = function() return solution__ end end if not package.loaded['luaunit'] and not package.searchpath('luaunit', package.path) and not package.searchpath('luaunit', package.cpath) then package.preload['luaunit'] = function() return solution__ end end
    local f = require('count.f')
    local u = require "luaunit"
    assert(f(1) == 0)
    "#);
    let loader = |solution: &str, tests: &str| {
        let source = splice("lua", solution, tests).source;
        source.split_once("return ").unwrap().1.split_once(" end end").unwrap().0.to_owned()
    };
    assert_eq!(loader("function f() end", "local x = require('a.f')"), "f");
    assert_eq!(loader("function f() end local function g() end", "require('m')"), "{ f = f, g = g }");
    assert_eq!(splice("lua", "return", "f()").source, "local solution__\nf()");
    assert_eq!(splice("lua", "local t = {}", "-- require('x')").source, "local t = {}\n-- require('x')");
}

#[test]
fn lua_tests_may_return() {
    let source = strict("lua", "", "f()\nreturn os.exit(0)");
    let (code, last) = source.split_once("plain.over()").unwrap();
    assert!(code.contains("f()\n") && last.trim() == "return os.exit(0)", "{source}");
}

#[test]
fn data_goes_behind_the_tests() {
    let solution = "print <<\"A\", <<~B;\n__END__\nA\n  __END__\n  B\n=pod\n__END__\n=cut\nwhile (<DATA>) {}\n__DATA__\nrows\n";
    insta::assert_snapshot!(splice("perl", solution, "ok(1);").source, @r#"
    print <<"A", <<~B;
    __END__
    A
      __END__
      B
    =pod
    __END__
    =cut
    while (<DATA>) {}

    ok(1);
    __DATA__
    rows
    "#);
    let both = splice("ruby", "a\n__END__\nx", "b\n__END__\ny").source;
    assert_eq!(both, "a\n\nb\n__END__\ny");
    let source = strict("ruby", "a", "b\n__END__\ny");
    assert!(source.find("TestsOfProgram.end").unwrap() < source.find("__END__").unwrap(), "{source}");
    // A shift, not a here-document.
    assert!(splice("ruby", "a << b\nx = 1 <<SIZE", "t").source.ends_with("SIZE\nt"));
}

#[test]
fn typescript_is_a_module_only_where_it_must_be() {
    let compile = |source: &str| whole("typescript", source).compile.unwrap();
    for module in [
        "const x = await f();",
        "for await (const x of f()) {}",
        "f(import.meta.url)",
        "async function f(): Promise<{ a: number }> { await g(); }\nassert(await f());",
        "async x => await x; { f(await x) }",
    ] {
        assert!(compile(module).contains(&"--format=esm".to_owned()), "{module}");
    }
    for script in [
        "import fs from 'fs'",
        "async () => { await f(); }",
        "// await",
        "export const await_ = 1",
        "const f = async (n: number): Promise<void> => await g(n);",
        "async function f(): Promise<{ a: number }[]> { await g(); }",
        "class A { async m<T>(x: T): Promise<void> { for (;;) { await x; } } }",
        "const f = async x => { await x }",
        "x.await()",
    ] {
        assert!(compile(script).contains(&"--format=cjs".to_owned()), "{script}");
    }
    let twice = "import assert from \"assert\";\n";
    let source =
        splice("typescript", twice, "import assert from 'assert';\nfunction demoTesting(): void {}").source;
    assert_eq!(source, format!("{twice}\nfunction demoTesting(): void {{}}\ndemoTesting();\n"));
}

#[test]
fn promises_of_tests_are_tracked() {
    let tests = "async function test() {}\nconst other = async () => 1;\nfunction plain() {}\n(async () => { await test(); })();\nif (x) { other().then(f); }\nplain();\na.test();\n// test()\nclass A { async test() {} }\nclass B { other() { return `test()`; } }";
    let source = strict("javascript", "", tests);
    insta::assert_snapshot!(source.split_once("begin();\n").unwrap().1, @r"
    async function test() {}
    const other = async () => 1;
    function plain() {}
    testsOfProgram.track((async () => { await testsOfProgram.track(test()); })());
    if (x) { testsOfProgram.track(other()).then(f); }
    plain();
    a.test();
    // test()
    class A { async test() {} }
    class B { other() { return `test()`; } }
    testsOfProgram.end();
    ");
    let source = strict("typescript", "", "async function fullTesting() {}");
    assert!(source.ends_with("testsOfProgram.track(fullTesting());\n\ntestsOfProgram.end();"), "{source}");
}

fn php_code() -> impl Strategy<Value = String> {
    proptest::string::string_regex(
        "((<\\?php|\\?>|<\\?=|exit|die|declare\\(strict_types=1\\);|<<<X|X;|//|/\\*|\\*/|#\\[|return|end|function|require|__END__|=pod|=cut|<<A|--|\\[\\[|\\]\\]|async|test)|[(){};='\"\\\\ é]|\n| ){0,50}",
    )
    .unwrap()
}

proptest! {
    #[test]
    fn no_input_breaks_scripting_languages(solution in php_code(), tests in php_code(), strict: bool) {
        for name in ["php", "lua", "perl", "ruby", "typescript", "javascript", "coffeescript"] {
            splice::splice(LANGUAGES.get(name).unwrap(), &solution, &tests, strict);
        }
    }

    /// What stands in strings and comments comes through unchanged, whatever it looks like.
    #[test]
    fn text_of_scripting_languages_comes_through(
        inside in "(<\\?php|\\?>|exit\\(0\\)|return f|require|demoTesting\\(\\)|[a-z;{}() ]){1,12}",
        is_strict: bool,
    ) {
        let string = format!("\"{inside}\"");
        let comment = format!("/* {inside} */");
        let long = format!("--[[ {inside} ]]");
        for (language, solution, tests, kept) in [
            ("php", format!("<?php $s = {string}; {comment} ?>"), format!("<?php $s = {string}; {comment} ?>"), &comment),
            ("lua", format!("local s = {string} {long}\nreturn s"), format!("local t = {string} {long}"), &long),
            ("typescript", format!("const s = {string}; {comment}"), format!("const t = {string}; {comment}"), &comment),
        ] {
            let source = if is_strict {
                strict(language, &solution, &tests)
            } else {
                splice(language, &solution, &tests).source
            };
            prop_assert_eq!(source.matches(&string).count(), 2, "{}: {}", language, source);
            prop_assert_eq!(source.matches(kept.as_str()).count(), 2, "{}: {}", language, source);
        }
    }
}
