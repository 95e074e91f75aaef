//! python, shell, C++, Java, Go and JavaScript.

use autocodegen::sandbox::splice::Spliced;
use proptest::prelude::*;

use super::{splice, whole};

#[test]
fn python_and_shell_are_one_text_after_the_other() {
    for language in ["python", "shell"] {
        let spliced = splice(language, "a", "b");
        assert_eq!((spliced.source.as_str(), spliced.compile), ("a\nb", None));
    }
}

#[test]
fn cpp_drops_the_main_of_the_solution_only() {
    let solution = r#"#include <string>
// int main() { is just a comment }
const char *text = "int main() {";
const char *raw = R"x(int main() { )" )x";
int helper();
int main(int argc, char **argv) {
    if (argc) { return '}'; }
}
int helper() { return 1; }
"#;
    let tests = "#include <cassert>\nint main() { assert(helper() == 1); }\n";
    insta::assert_snapshot!(splice("cpp", solution, tests).source, @r##"
    #include <iostream>
    using namespace std;
    #include <string>
    // int main() { is just a comment }
    const char *text = "int main() {";
    const char *raw = R"x(int main() { )" )x";
    int helper();

    int helper() { return 1; }

    #include <cassert>
    int main() { assert(helper() == 1); }
    "##);
}

#[test]
fn cpp_keeps_the_main_of_the_solution_when_the_tests_have_none() {
    let spliced = splice("cpp", "int main() { return f(); }", "int f() { return 0; }");
    assert!(spliced.source.contains("int main()"));
    assert_eq!(whole("cpp", "int main() {}").source, "int main() {}");
}

#[test]
fn java_imports_come_first_and_once() {
    let solution = r#"package com.example.app;

import java.util.List;
import java . util . * ; // collections
import static java.lang.Math.max;

/** Uses import java.io.File; in a comment. */
public final class Solution {
    public static class Inner {}
    String text = "import java.io.File; public class X {";
    String block = """
        package not.this;
        import nor.this;
        """;
}
"#;
    let tests = r#"
package com.example.app;
import java.util.List;
import com.example.app.Solution;
import org.junit.jupiter.api.Test;
public class SolutionTest {
    @Test
    public void test() {}
}
"#;
    let spliced = splice("java", solution, tests);
    insta::assert_snapshot!(spliced.source, @r#"
    import java.util.List;
    import java.util.*;
    import static java.lang.Math.max;
    import org.junit.jupiter.api.Test;

     // collections

    /** Uses import java.io.File; in a comment. */
    final class Solution {
        public static class Inner {}
        String text = "import java.io.File; public class X {";
        String block = """
            package not.this;
            import nor.this;
            """;
    }

    class SolutionTest {
        @Test
        public void test() {}
    }
    "#);
    assert!(spliced.run.contains(&"autocodegen.RunTests".to_owned()));
}

#[test]
fn java_runs_the_class_with_a_main() {
    let main_class = |spliced: Spliced| spliced.run.last().unwrap().clone();
    let tests = "public class Check { public static void main(String[] args) {} }";
    let solution = "class Solution { static void main(int notThis) {} void other() { int main; } }";
    assert_eq!(main_class(splice("java", solution, tests)), "Check");
    // The tests decide, then the solution; a mention of @Test in text decides nothing.
    let helper = "class Helper { String s = \"@Test\"; /* @Test */ }";
    assert_eq!(main_class(splice("java", tests, helper)), "Check");
    let two = "interface A {} enum B { X; public static void main(String... a) {} } record C(int x) {}";
    assert_eq!(main_class(whole("java", two)), "B");
    assert_eq!(whole("java", "public class A {}").source, "class A {}\n");
}

#[test]
fn go_has_one_package_and_one_import_block_of_what_is_used() {
    let solution = r#"package main

import (
	"fmt" // printing
	"os"
	str "strings"
	_ "embed"
	"math/rand/v2"
)

import "errors"

// import "net" is a comment
const text = `package main
import "net"`

func Solve() error { fmt.Println(str.ToUpper(text), rand.IntN(3)); return errors.New("os.Exit") }

func main() { os.Exit(3) }
"#;
    let tests = r#"package main

import "testing"
import "fmt"

func TestFull(t *testing.T) { fmt.Println(Solve()) }
"#;
    let spliced = splice("go", solution, tests);
    insta::assert_snapshot!(spliced.source, @r#"
    package main

    import (
    	"fmt"
    	str "strings"
    	_ "embed"
    	"math/rand/v2"
    	"errors"
    	"testing"
    )

    // import "net" is a comment
    const text = `package main
    import "net"`

    func Solve() error { fmt.Println(str.ToUpper(text), rand.IntN(3)); return errors.New("os.Exit") }

    func TestFull(t *testing.T) { fmt.Println(Solve()) }
    "#);
    assert_eq!(spliced.file_name, "main_test.go");
}

#[test]
fn go_gets_a_main_that_calls_the_entry_points() {
    let solution = "package main\nfunc f() int { return 1 }\nfunc main() { println(f()) }\n";
    let tests = "package main\nfunc demoTesting() { println(f()) }\nfunc fullTesting() {}\n";
    let spliced = splice("go", solution, tests);
    insta::assert_snapshot!(spliced.source, @"
    package main

    func f() int { return 1 }

    func demoTesting() { println(f()) }
    func fullTesting() {}

    func main() {
    	demoTesting()
    	fullTesting()
    }
    ");
    assert_eq!(spliced.file_name, "main.go");
    let own = splice(
        "go",
        "package main\nfunc f() {}",
        "package main\nfunc main() { demoTesting() }\nfunc demoTesting() {}",
    );
    assert_eq!(own.source.matches("func main()").count(), 1);
    assert_eq!(own.source.matches("demoTesting()").count(), 2);
}

#[test]
fn go_programs_are_run_by_what_they_hold() {
    let file_name = |source: &str| whole("go", source).file_name;
    assert_eq!(file_name("package main\nfunc TestX(t *testing.T) {}"), "main_test.go");
    assert_eq!(file_name("package main\nfunc main() {}\n// func TestX(t *testing.T) {}"), "main.go");
    assert_eq!(file_name("package main\nfunc Testament() {}\nfunc main() {}"), "main.go");
    assert_eq!(file_name("package main\nfunc TestMain(m *testing.M) {}\nfunc main() {}"), "main.go");
}

#[test]
fn javascript_calls_entry_points_that_nothing_calls() {
    let added = |tests: &str| {
        let source = splice("javascript", "function f() {}", tests).source;
        source.strip_prefix(&format!("function f() {{}}\n{tests}")).unwrap().trim().to_owned()
    };
    assert_eq!(added("function demoTesting() {}"), "demoTesting();");
    assert_eq!(added("async function fullTesting() { f(); }"), "fullTesting();");
    assert_eq!(added("const demoTesting = async () => { f(); };"), "demoTesting();");
    assert_eq!(added("const fullTesting = function () { f() }"), "fullTesting();");
    assert_eq!(
        added("function demoTesting() {}\nfunction fullTesting() {}"),
        "demoTesting();\nfullTesting();"
    );
    assert_eq!(added("function demoTesting() {} // demoTesting()"), "demoTesting();");
    assert_eq!(added("function demoTesting() { return 'demoTesting()'; }"), "demoTesting();");
    // Called only by a function that nothing calls.
    assert_eq!(added("function demoTesting() {}\nfunction test() { demoTesting(); }"), "demoTesting();");
    for called in [
        "function demoTesting() {}\ndemoTesting()",
        "demoTesting();\nfunction demoTesting() {}",
        "function demoTesting() {}\n(async () => { await demoTesting(); })();",
        "function demoTesting() {}\nif (require.main === module) { demoTesting(); }",
        "function demoTesting() {}\nfunction test() { demoTesting(); }\ntest();",
        "const x = 1\nconst demoTesting = () => f()\ndemoTesting()",
        "test('demoTesting', () => {})",
    ] {
        assert_eq!(added(called), "", "{called}");
    }
}

#[test]
fn javascript_imports_come_once() {
    let solution =
        "const assert = require('assert');\nconst { a, b } = require(\"x\")\nlet n = require('y').z;\n";
    let tests =
        "const assert = require(\"assert\");\nconst {a, b} = require('x');\nlet n2 = require('y').z;\nf();";
    let source = splice("javascript", solution, tests).source;
    assert_eq!(source, format!("{solution}\nlet n2 = require('y').z;\nf();"));
}

#[test]
fn javascript_modules_are_told_from_scripts() {
    let file_name = |source: &str| whole("javascript", source).file_name;
    for module in [
        "import fs from 'fs'",
        "import { a } from 'a';",
        "import * as b from \"b\"",
        "import 'c'",
        "export default f",
    ] {
        assert_eq!(file_name(module), "test.mjs", "{module}");
    }
    for script in
        ["import('fs')", "a.import", "// import fs from 'fs'", "`\nimport fs from 'fs'`", "x = {export: 1}"]
    {
        assert_eq!(file_name(script), "test.js", "{script}");
    }
    let mixed =
        whole("javascript", "import fs from 'fs';\nconst a = require('assert');\nmodule.exports = a;");
    assert!(mixed.source.starts_with("import { createRequire"));
}

proptest! {
    /// What stands in strings and comments comes through unchanged, whatever it looks like.
    #[test]
    fn text_comes_through(inside in "(import |package |int main\\(\\) \\{|public class |func main|demoTesting\\(\\)|[a-z;{}() ]){1,12}") {
        let string = format!("\"{inside}\"");
        let comment = format!("/* {inside} */");
        for (language, solution, tests) in [
            ("java", format!("class A {{ String s = {string}; {comment} }}"), "class B {}".to_owned()),
            ("cpp", format!("{comment}\nconst char *s = {string};"), format!("int main() {{ {comment} }}")),
            ("go", format!("package main\n{comment}\nvar s = {string}"), "package main\nfunc main() {}".to_owned()),
            ("javascript", format!("const s = {string}; {comment}"), comment.clone()),
        ] {
            let source = splice(language, &solution, &tests).source;
            prop_assert!(source.contains(&string), "{language}: {source}");
            prop_assert!(source.contains(&comment), "{language}: {source}");
        }
    }
}
