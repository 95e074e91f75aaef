//! Java tests come to the same whether they need JUnit or are simple enough to be run without it, and all libraries of
//! the class path are there.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Outcome};

const SOLUTION: &str =
    "class Numbers { static final long BIG = 12345678901L; static int twice(int n) { return 2 * n; } }";

/// Test classes, what must come of them, and what they print.
const CASES: &[(&str, Outcome, &str)] = &[
    (
        r#"class NumbersTest {
            @BeforeEach void before() { System.out.print("before "); }
            @AfterEach void after() { System.out.print("after "); }
            @Test @DisplayName("a name") void test() { System.out.print("test "); }
            @Deprecated void unused(long n, double d) { System.out.print(n + 1.5 * d); }
        }"#,
        Outcome::Passed,
        "before test after ",
    ),
    // An annotation of the program's own may be made of JUnit's, one with all kinds of values among them.
    (
        r#"@Retention(RetentionPolicy.RUNTIME) @Test @interface Mine {
            String[] names() default {"x"}; Class<?> type() default String.class; long big() default 3;
            Deprecated other() default @Deprecated(since = "1"); RetentionPolicy policy() default RetentionPolicy.CLASS;
        }
        class NumbersTest {
            @Mine(names = {"a", "b"}, other = @Deprecated, policy = RetentionPolicy.SOURCE) void test() { System.out.print("mine"); }
        }"#,
        Outcome::Passed,
        "mine",
    ),
    (
        "class NumbersTest { @Test @Disabled void test() { fail(); } @Test void other() {} }",
        Outcome::Passed,
        "",
    ),
    (
        "class NumbersTest { @RepeatedTest(3) void test() { System.out.print(\"r\"); } }",
        Outcome::Passed,
        "rrr",
    ),
    (
        "class NumbersTest { @ParameterizedTest @ValueSource(ints = {0, 1}) void test(int n) { assertEquals(0, Numbers.twice(n)); } }",
        Outcome::WrongAnswer,
        "expected: <0> but was: <2>",
    ),
    (
        "class NumbersTest { @TempDir java.nio.file.Path dir; @Test void test() { System.out.print(dir != null); } }",
        Outcome::Passed,
        "true",
    ),
    (
        "class Base { @Test void test() { System.out.print(\"t\"); } } class NumbersTest extends Base {}",
        Outcome::Passed,
        "tt",
    ),
    (
        "class NumbersTest { @Test void test() { assertEquals(5, Numbers.twice(2), \"twice two\"); } }",
        Outcome::WrongAnswer,
        "=> org.opentest4j.AssertionFailedError: twice two ==> expected: <5> but was: <4>",
    ),
    // What other archives bring: JUnit 4, Hamcrest, Gson and an org.json whose exception need not be declared.
    (
        "class NumbersTest { @Test void test() { org.junit.Assert.assertEquals(5, Numbers.twice(2)); } }",
        Outcome::WrongAnswer,
        "expected:<5> but was:<4>",
    ),
    (
        r#"class NumbersTest { @Test void test() {
            org.hamcrest.MatcherAssert.assertThat(Numbers.twice(2), org.hamcrest.CoreMatchers.is(4));
            System.out.print(new com.google.gson.Gson().toJson(java.util.List.of(1)) + new org.json.JSONObject("{\"a\": 1}").get("a"));
        } }"#,
        Outcome::Passed,
        "[1]1",
    ),
];

#[tokio::test]
async fn simple_tests_and_those_that_need_junit() {
    let Some(sandbox) = common::sandbox("junit") else { return };
    let imports = [
        "static org.junit.jupiter.api.Assertions.*",
        "org.junit.jupiter.api.*",
        "org.junit.jupiter.api.io.TempDir",
        "org.junit.jupiter.params.ParameterizedTest",
        "org.junit.jupiter.params.provider.ValueSource",
        "java.lang.annotation.*",
    ];
    let imports = imports.map(|name| format!("import {name};\n")).concat();
    for (tests, outcome, output) in CASES {
        let job = Job {
            language: "java".to_owned(),
            source: SOLUTION.to_owned(),
            tests: Some(format!("{imports}{tests}")),
            strict: true,
            ..Job::default()
        };
        let verdict = match sandbox.run(&job).await {
            Err(fault) if fault.cause == "toolchain_missing" => return common::skip("junit", &fault.message),
            result => result.unwrap(),
        };
        assert_eq!(verdict.outcome, *outcome, "{tests}\n{verdict:#?}");
        match outcome {
            Outcome::Passed => assert_eq!(verdict.stdout, *output, "{tests}"),
            _ => assert!(verdict.stdout.contains(output), "{tests}\n{verdict:#?}"),
        }
    }
}
