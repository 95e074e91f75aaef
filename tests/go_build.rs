//! Go programs built past the go command: what the command itself would have built, and its own word where it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::path::Path;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Verdict};
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use regex::Regex;

fn sandbox(change: impl Fn(&mut Language)) -> LocalSandbox {
    let mut go = Languages::embedded().unwrap().get("go").unwrap().clone();
    change(&mut go);
    let languages = Some(Languages::new(vec![go]).unwrap());
    let launcher = Some(Path::new(env!("CARGO_BIN_EXE_autocodegen")).to_owned());
    LocalSandbox::start(Options { launcher, languages, ..Options::default() }).unwrap()
}

/// The go command alone.
fn plain(go: &mut Language) {
    let completion = go.completion.as_mut().unwrap();
    let variants = go.variants.values_mut().chain(completion.variants.values_mut());
    let commands = variants.map(|variant| &mut variant.compile);
    for command in commands.chain([&mut go.compile, &mut completion.compile]).flatten() {
        assert!(command[0].ends_with("/build") && command[3] == "{go}");
        command.drain(..3);
    }
}

/// What is the same in each run of the same program.
fn essence(verdict: &Verdict) -> impl PartialEq + std::fmt::Debug {
    let varies = Regex::new(r"0x[0-9a-f]+|[0-9.]+s\b|goroutine \d+").unwrap();
    let steady = |text: &str| varies.replace_all(text, "_").into_owned();
    let Verdict { outcome, stdout, stderr, compile_message, exit_code, signal, .. } = verdict;
    (*outcome, steady(stdout), steady(stderr), compile_message.clone(), *exit_code, *signal)
}

const PROGRAMS: [&str; 33] = [
    // Built past the go command.
    "import \"fmt\"\nfunc main() { fmt.Println(\"hello\") }",
    "import (\n\"testing\"\n\"github.com/stretchr/testify/assert\"\n)\nfunc TestOne(t *testing.T) { assert.Equal(t, 1, 2) }\nfunc TestTwo(*testing.T) {}",
    "import \"testing\"\ntype T struct{}\nfunc (T) TestMethod() {}\nfunc Testlower() {}\nfunc Test(t *testing.T) { t.Log(t.Name()); t.Fail() }\nfunc Test_2(t *testing.T) { panic(\"x\") }",
    "import (\n\"fmt\"\n\"os\"\n\"runtime/debug\"\n)\nfunc main() {\n\tinfo, _ := debug.ReadBuildInfo()\n\tfmt.Println(info, os.Args)\n\tdefer func() { fmt.Println(recover()); var m map[int]int; m[1] = 1 }()\n\tpanic(nil)\n}",
    "import . \"strings\"\nvar b = a + 1\nvar a = 2\nfunc main() { println(ToUpper(\"x\"), b) }",
    // What a program can tell of the package it is in, of its tests, and of what has run before them.
    "import (\n\"fmt\"\n\"reflect\"\n\"runtime\"\n\"testing\"\n)\ntype T struct{}\nfunc TestOne(t *testing.T) {\n\tcounter, file, line, _ := runtime.Caller(0)\n\tfmt.Printf(\"%T %#v %T\\n\", T{}, &T{}, TestOne)\n\tfmt.Println(runtime.FuncForPC(counter).Name(), file, line, reflect.TypeOf(T{}).PkgPath(), reflect.TypeOf(T{}))\n}",
    "import (\n\"fmt\"\n\"testing\"\n)\nfunc TestOne(t *testing.T) {\n\tfor _, name := range []string{\"a\", \"b c\", \"\", \"a\"} {\n\t\tt.Run(name, func(t *testing.T) { t.Cleanup(func() { fmt.Println(t.Failed()) }); if name == \"a\" { t.Error(t.Name()) } })\n\t}\n}\nfunc TestTwo(t *testing.T) { t.Skip(\"later\") }",
    "import (\n\"fmt\"\n\"testing\"\n)\nvar b = say(\"b\", a)\nvar a = say(\"a\", 1)\nfunc say(name string, n int) int { fmt.Println(name, n); return n + 1 }\nfunc init() { say(\"first\", b) }\nfunc TestTwo(t *testing.T) { say(\"two\", b) }\nfunc TestOne(t *testing.T) { say(\"one\", b) }\nfunc init() { say(\"second\", a) }",
    "import (\n. \"fmt\"\nunit \"testing\"\n)\ntype string int\nvar tests, benchmarks, fuzzTargets, examples, testing, testdeps, os, _test, nil = 1, 2, 3, 4, 5, 6, 7, 8, 9\nfunc main() { panic(\"unreachable\") }\nfunc TestOne(*unit.T) { Println(tests, benchmarks, fuzzTargets, examples, testing, testdeps, os, _test, nil) }",
    "import \"testing\"\nfunc check(ok bool) { if !ok { panic(\"not ok\") } }\nfunc TestOne(t *testing.T) { check(true) }\nfunc TestTwo(t *testing.T) { var m map[string][]int; check(len(m[\"a\"]) == 0); t.Run(\"inner\", func(t *testing.T) { check(m[\"a\"][3] > 0) }) }",
    "import (\n\"fmt\"\n\"testing\"\n)\nfunc init() { fmt.Println(\"before\"); var m map[int]int; m[1] = 1 }\nfunc TestOne(t *testing.T) {}",
    "import (\n\"log\"\n\"testing\"\n)\nfunc TestOne(t *testing.T) { log.SetFlags(log.Lshortfile); log.Print(\"here\"); log.Fatal(\"there\") }",
    "import (\n\"os\"\n\"testing\"\n)\nfunc TestOne(t *testing.T) { println(len(os.Args)); os.Exit(0) }\nfunc TestTwo(t *testing.T) {}",
    "import \"testing\"\nfunc TestOne(t *testing.T) { <-make(chan int) }",
    // What the go command has something of its own to say about.
    "import \"testing\"\nfunc TestOne(t *testing.T) { println(len(autocodegenTestList())) }",
    "import \"testing\"\nvar autocodegenTestList, autocodegenTesting = 1, 2\nfunc TestOne(t *testing.T) { println(autocodegenTestList + autocodegenTesting) }",
    "func main() { undefined() }",
    "import \"fmt\"\nfunc main() {}",
    "func main() {",
    "import \"nowhere/to/be/found\"\nfunc main() { found.F() }",
    "import \"internal/abi\"\nvar _ abi.Type\nfunc main() {}",
    "import \"C\"\nfunc main() {}",
    "func f() {}",
    "import \"testing\"\nfunc TestWrong(t *testing.T, n int) {}",
    "import \"testing\"\nfunc TestTwice(t *testing.T) {}\nfunc TestTwice(t *testing.T) {}",
    "import \"testing\"\nfunc TestGeneric[T any](t *testing.T) {}",
    // Unusual.
    "import (\n\"os\"\n\"testing\"\n)\nfunc TestMain(m *testing.M) { println(\"first\"); os.Exit(m.Run()) }\nfunc TestOne(t *testing.T) {}",
    "import (\n\"fmt\"\n\"testing\"\n)\nfunc TestOne(t *testing.T) {}\nfunc ExamplePrint() {\n\tfmt.Println(1)\n\t// Output: 2\n}",
    "import \"testing\"\nfunc BenchmarkOne(b *testing.B) {}\nfunc FuzzOne(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, n int) { t.Fatal(n) }) }\nfunc TestOne(t *testing.T) {}",
    "import _ \"embed\"\n//go:embed main.go\nvar text string\nfunc main() { println(len(text) > 0) }",
    "//go:noinline\nfunc f() int { return 1 }\nfunc main() { println(f()) }",
    "import \"go/types\"\nfunc main() { println(types.Universe.Len() > 1) }",
    "import \"testing/quick\"\nfunc main() { println(quick.Check(func(n int) bool { return n == n }, nil) == nil) }",
];

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_are_those_of_the_go_command() {
    let languages = Languages::embedded().unwrap();
    if let Err(missing) = toolchain::find(languages.get("go").unwrap()) {
        return common::skip("go", &missing.to_string());
    }
    let (ours, command) = (sandbox(|_| ()), sandbox(plain));
    let constrained = "//go:build windows\n\npackage main\n\nfunc main() {}\n".to_owned();
    let sources = PROGRAMS.map(|program| format!("package main\n\n{program}\n")).into_iter();
    for source in sources.chain([constrained, "package other\n\nfunc main() {}\n".to_owned()]) {
        let whole = Job { language: "go".to_owned(), source, ..Job::default() };
        let with_tests = Job {
            tests: Some("package main\n\nfunc demoTesting() {}\n".to_owned()),
            strict: true,
            ..whole.clone()
        };
        for job in [whole, with_tests] {
            let (got, wanted) = tokio::join!(ours.run(&job), command.run(&job));
            let (got, wanted) = (got.unwrap(), wanted.unwrap());
            assert_eq!(essence(&got), essence(&wanted), "{job:?}");
        }
    }
}

/// The linker is given the build id of the program it was learned from, where the go command makes one of each source.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_programs_are_built_past_the_go_command() {
    let languages = Languages::embedded().unwrap();
    if let Err(missing) = toolchain::find(languages.get("go").unwrap()) {
        return common::skip("go", &missing.to_string());
    }
    const BUILD_ID: &str = r#"
func buildId() string {
	program, _ := os.ReadFile("/proc/self/exe")
	_, note, _ := strings.Cut(string(program), "\x04\x00\x00\x00Go\x00\x00")
	id, _, _ := strings.Cut(note, "\x00")
	return id
}
"#;
    let program = |n: u32| {
        format!(
            "package main\n\nimport (\n\t\"os\"\n\t\"strings\"\n)\n{BUILD_ID}\nfunc main() {{ println({n}); print(\"\\nid \", buildId(), \"\\n\") }}\n"
        )
    };
    let test = |n: u32| {
        format!(
            "package main\n\nimport (\n\t\"os\"\n\t\"strings\"\n\t\"testing\"\n)\n{BUILD_ID}\nfunc TestOne(t *testing.T) {{ println({n}); print(\"\\nid \", buildId(), \"\\n\") }}\n"
        )
    };
    let (ours, command) = (sandbox(|_| ()), sandbox(plain));
    let whole = |source| Job { language: "go".to_owned(), source, ..Job::default() };
    let solved =
        |tests| Job { tests: Some(tests), strict: true, ..whole("package main\n\nfunc f() {}\n".to_owned()) };
    let pairs = [[program(1), program(2)], [test(1), test(2)]];
    for [one, other] in
        pairs.clone().map(|pair| pair.map(whole)).into_iter().chain(pairs.map(|pair| pair.map(solved)))
    {
        let mut ids = Vec::new();
        for (sandbox, job) in [(&ours, &one), (&ours, &other), (&command, &one), (&command, &other)] {
            let verdict = sandbox.run(job).await.unwrap();
            let id = verdict.stderr.lines().find_map(|line| line.strip_prefix("id ")).map(str::to_owned);
            ids.push(id.filter(|id| !id.is_empty()).unwrap_or_else(|| panic!("{verdict:?}")));
        }
        assert_eq!(ids[0], ids[1], "{one:?}");
        assert_ne!(ids[2], ids[3]);
    }
}
