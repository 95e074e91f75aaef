//! Kotlin, Scala, Groovy, C#, F# and Visual Basic.

use proptest::prelude::*;

use super::{splice, whole};

#[test]
fn scripts_that_take_imports_anywhere_are_one_text_after_the_other() {
    for language in ["scala", "groovy", "fsharp"] {
        let spliced = splice(language, "import a.B\nb", "import c.D\nd");
        assert_eq!(spliced.source, "import a.B\nb\nimport c.D\nd", "{language}");
    }
}

#[test]
fn kotlin_imports_come_first_and_once() {
    let solution = r#"@file:Suppress("unused")
package com.example

import kotlin.math.max
import java.util.* // collections
/* import in.a.comment */
fun text() = """
import not.an.Import
"""
val quoted = "import not.an.Import"; val importance = 1
class A {
    val import = 2
}
"#;
    let tests = "import kotlin.math.max\nimport kotlin.test.assertEquals as same;\n\nsame(max(1, 2), 2) // package end";
    insta::assert_snapshot!(splice("kotlin", solution, tests).source, @r#"
    @file:Suppress("unused")
    import kotlin.math.max
    import java.util.*
    import kotlin.test.assertEquals as same

     // collections
    /* import in.a.comment */
    fun text() = """
    import not.an.Import
    """
    val quoted = "import not.an.Import"; val importance = 1
    class A {
        val import = 2
    }

    same(max(1, 2), 2) // package end
    "#);
    assert_eq!(whole("kotlin", "package a\nprintln(1)").source, "println(1)\n");
}

#[test]
fn csharp_usings_come_first_and_tests_see_static_methods() {
    let solution = r#"using System;
using static System.Math;
using Pairs = System.Collections.Generic.List<(int, int)>;
#region it's static
namespace Numbers.Deep
{
    // static int InAComment() { }
    class Program
    {
        static readonly string Path = @"C:\"; static Program() { }
        const string Text = "static int F() {";
        static int Twice(int n) { return 2 * n; }
        static (int, int) Pair(int n) => (n, n);
        private static int Hidden() { return 1; }
        [Obsolete]
        static int Old()
        {
            static int Local() { return 1; }
            using (var reader = new System.IO.StringReader("")) { }
            return Local();
        }
        static class Inner { static void Main() { } }
    }
}
"#;
    let tests = r#"using System;
using System.Diagnostics;

namespace Numbers.Deep
{
    class Tests
    {
        public static void RunTests() { Debug.Assert(Program.Twice(1) == 2); }
    }
}"#;
    let spliced = splice("csharp", solution, tests);
    insta::assert_snapshot!(spliced.source, @r#"
    using System;
    using static System.Math;
    using Pairs = System.Collections.Generic.List<(int, int)>;
    using System.Diagnostics;

    #region it's static
    namespace Numbers.Deep
    {
        // static int InAComment() { }
        class Program
        {
            static readonly string Path = @"C:\"; static Program() { }
            const string Text = "static int F() {";
            public static int Twice(int n) { return 2 * n; }
            public static (int, int) Pair(int n) => (n, n);
            private static int Hidden() { return 1; }
            [Obsolete]
            public static int Old()
            {
                static int Local() { return 1; }
                using (var reader = new System.IO.StringReader("")) { }
                return Local();
            }
            static class Inner { public static void Main() { } }
        }
    }

    namespace Numbers.Deep
    {
        class Tests
        {
            public static void RunTests() { Debug.Assert(Program.Twice(1) == 2); }
        }
    }
    "#);
    assert_eq!(spliced.run.last().unwrap(), "Numbers.Deep.Tests:RunTests");
}

#[test]
fn csharp_runs_the_last_entry() {
    let entry = |solution: &str, tests: &str| splice("csharp", solution, tests).run.last().unwrap().clone();
    let with_main = "class Program { static void Main(string[] args) { Main2(); } }";
    assert_eq!(entry(with_main, "class T { }"), "Program:Main");
    assert_eq!(entry(with_main, "class T { static void RunTests() { } }"), "T:RunTests");
    assert_eq!(
        entry("", "namespace A; class T { class In { static async Task<int> Main() { } } }"),
        "A.T+In:Main"
    );
    assert_eq!(
        entry("", "class T { static void RunTests() { } static void Main() { RunTests(); } }"),
        "T:Main"
    );
    let generic = "class Box<T> : Base where T : class { static void F() { RunTests(); } }";
    assert_eq!(entry(generic, "struct S { static int Main() { return 0; } }"), "S:Main");
}

#[test]
fn visual_basic_modules_get_names_of_their_own() {
    let solution = r#"Option Strict On
Imports System ' of a comment: Imports X
imports System.Linq

' Module Numbers in a comment
Public Module Numbers
    Dim text As String = "Sub Main ' no comment
Imports Inside"
    Function Twice(n As Integer) As Integer
        Return 2 * n REM Module Tests
    End Function
End Module
"#;
    let tests = r#"Imports System
Imports System.Diagnostics

Module NUMBERS
    Sub RunTests()
        Debug.Assert(Numbers.Twice(4) = 8, "RunTests")
    End Sub
End Module
"#;
    let spliced = splice("vb", solution, tests);
    insta::assert_snapshot!(spliced.source, @r#"
    Option Strict On
    Imports System
    imports System.Linq
    Imports System.Diagnostics

    ' Module Numbers in a comment
    Public Module Numbers
        Dim text As String = "Sub Main ' no comment
    Imports Inside"
        Function Twice(n As Integer) As Integer
            Return 2 * n REM Module Tests
        End Function
    End Module

    Module NUMBERS_Tests
        Sub Main()
            Debug.Assert(Numbers.Twice(4) = 8, "RunTests")
        End Sub
    End Module
    "#);
    assert!(spliced.compile.unwrap().contains(&"-p:StartupObject=NUMBERS_Tests".to_owned()));
}

#[test]
fn visual_basic_keeps_a_main_of_the_tests() {
    let tests = "Module T\n    Public Sub Main(args As String())\n        RunTests()\n    End Sub\n    Sub RunTests()\n    End Sub\nEnd Module";
    let spliced = splice("vb", "Module S\n    Sub Main()\n    End Sub\nEnd Module", tests);
    assert!(spliced.source.contains("Sub RunTests()"));
    assert!(spliced.compile.unwrap().contains(&"-p:StartupObject=T".to_owned()));
    assert!(whole("vb", tests).compile.unwrap().contains(&"-p:StartupObject=T".to_owned()));
}

#[test]
fn ends_that_the_tests_choose_are_theirs() {
    let languages = autocodegen::sandbox::language::Languages::embedded().unwrap();
    for (language, tests, expected) in [
        ("java", "class T { void f() { System . exit(0); } }", "autocodegen.Run.exit(0);"),
        (
            "kotlin",
            "if (ok) exitProcess(0) else exitProcess(1)",
            "if (ok) autocodegen.Run.exit(0) else exitProcess(1)",
        ),
        ("scala", "sys.exit(if (ok) 0 else 1)", "_root_.autocodegen.Run.exit(if (ok) 0 else 1)"),
        ("groovy", "System.exit(0)", "autocodegen.Run.exit(0)"),
        ("csharp", "Environment.Exit(0);", "global::Autocodegen.Entry.Exit(0);"),
    ] {
        let language = languages.get(language).unwrap();
        let strict = autocodegen::sandbox::splice::splice(language, "", tests, true);
        assert!(strict.source.contains(expected), "{}", strict.source);
        assert!(splice(&language.name, "", tests).source.contains(tests));
    }
}

proptest! {
    #[test]
    fn text_survives_in_strings_and_comments(text in "[a-z{}();=. ]{0,30}", import in "(import|using|static|Imports) [a-z.]{1,9};?") {
        for (language, quoted) in [
            ("kotlin", format!("val a = \"{import} {text}\"\n/* {text}\n{import} {text} */\nval b = \"\"\"\n{import}\n{text}\"\"\"\n")),
            ("csharp", format!("class A {{ string a = \"{import} {text}\"; /* {text}\n{import} {text} */ string b = @\"\n{import}\n{text}\\\"; }}\n")),
            ("vb", format!("Module A\n    Dim a = \"{import} {text}\"\n    ' {import} {text}\n    Dim b = \"\n{import}\n{text}\"\nEnd Module\n")),
        ] {
            let spliced = splice(language, &quoted, "");
            prop_assert!(spliced.source.contains(quoted.trim_end()), "{}", spliced.source);
        }
    }
}
