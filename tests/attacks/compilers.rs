//! Attacks while compiling: the compiler is as confined as the program.

use autocodegen::sandbox::job::{LimitOverrides, Outcome, Verdict};

use crate::host::{Host, MEMORY, PASSED, TIME, limits};

const REFUSED: Outcome = Outcome::CompilationError;

/// Compilers need more than programs.
fn compiler_limits() -> LimitOverrides {
    LimitOverrides {
        cpu_ms: Some(10_000),
        wall_ms: Some(40_000),
        memory_bytes: Some(1 << 30),
        pids: Some(256),
        file_bytes: Some(256 << 20),
        ..limits()
    }
}

/// For bombs: what stops them comes soon.
fn tight() -> LimitOverrides {
    LimitOverrides { cpu_ms: Some(3000), wall_ms: Some(20_000), ..compiler_limits() }
}

/// Compiles each source where the language is installed; each must end with one of `expected`, and nothing that the
/// compiler or the program says may hold what only the host's files do.
async fn compile(test: &str, language: &str, limits: LimitOverrides, sources: &[&str], expected: &[Outcome]) {
    let Some(host) = Host::new(test).await else { return };
    for source in sources {
        let Some(verdict) = host.run_if_installed(limits, language, source).await else { break };
        assert!(expected.contains(&verdict.outcome), "{test}: {source}\n{verdict:#?}");
        assert_no_secret(&verdict);
    }
    host.assert_clean().await;
}

fn assert_no_secret(verdict: &Verdict) {
    for text in [&verdict.stdout, &verdict.stderr, &verdict.compile_message] {
        // A line of /etc/shadow.
        assert!(
            !text.contains("root:*:") && !text.contains("root:$") && !text.contains("root:!"),
            "{verdict:#?}"
        );
    }
}

#[tokio::test]
async fn including_host_files() {
    let sources = [
        "#include \"/etc/shadow\"\nint main() {}\n",
        "#include \"/root/.bashrc\"\nint main() {}\n",
        "#include \"/proc/1/environ\"\nint main() {}\n",
        "#include \"../../../../../etc/shadow\"\nint main() {}\n",
        "asm(\".incbin \\\"/etc/shadow\\\"\");\nint main() {}\n",
        "const unsigned char x[] = {\n#embed \"/etc/shadow\"\n};\nint main() {}\n",
    ];
    compile("include", "cpp", compiler_limits(), &sources, &[REFUSED]).await;
}

#[tokio::test]
async fn endless_includes() {
    let sources = [
        "#include \"/dev/zero\"\nint main() {}\n",
        "#include \"test.cpp\"\n#include __FILE__\nint main() {}\n",
    ];
    let expected = [REFUSED, TIME, MEMORY, Outcome::OutputLimitExceeded];
    compile("endless include", "cpp", tight(), &sources, &expected).await;
}

#[tokio::test]
async fn template_bomb() {
    let bomb = "template <int N> struct A { A<N + 1> a; A<N + 2> b; };\nA<0> a;\nint main() {}\n";
    let constant = "constexpr long f(long n) { return n < 2 ? n : f(n - 1) + f(n - 2); }\nstatic_assert(f(80) > 0);\nint main() {}\n";
    compile("template bomb", "cpp", tight(), &[bomb, constant], &[REFUSED, TIME, MEMORY]).await;
}

#[tokio::test]
async fn macro_bomb() {
    let mut bomb = "#define A0 1,1,1,1,1,1,1,1,1,1\n".to_owned();
    for level in 1..10 {
        let below = format!("A{}", level - 1);
        bomb.push_str(&format!("#define A{level} {}\n", vec![below; 10].join(",")));
    }
    bomb.push_str("int x[] = { A9 };\nint main() {}\n");
    compile("macro bomb", "cpp", tight(), &[&bomb], &[REFUSED, TIME, MEMORY]).await;
}

/// A few words of source, gigabytes of program.
#[tokio::test]
async fn huge_program() {
    let sources = ["int x[1L << 31] = { 1 };\nint main() {}\n"];
    let limits = LimitOverrides { cpu_ms: Some(20_000), ..tight() };
    compile("huge program", "cpp", limits, &sources, &[REFUSED, TIME, MEMORY]).await;
}

/// What the compiler makes, or does not make, is the job's doing: a verdict, not a fault that is retried for ever.
#[tokio::test]
async fn programs_that_cannot_be_executed() {
    let library = "#![crate_type = \"lib\"]\nfn main() {}\n";
    let expected = [Outcome::RuntimeError, REFUSED, Outcome::WrongAnswer];
    compile("library", "rust", compiler_limits(), &[library], &expected).await;
    let package = "package other\nfunc main() {}\n";
    compile("package", "go", compiler_limits(), &[package], &expected).await;
}

/// An annotation processor would be code that runs inside the compiler.
#[tokio::test]
async fn java_annotation_processor_does_not_run() {
    let source = r#"
import java.util.*;
import javax.annotation.processing.*;
import javax.lang.model.element.*;
@SupportedAnnotationTypes("*")
public class Main extends AbstractProcessor {
    static { System.err.println("RAN IN " + ProcessHandle.current().info().commandLine().orElse("")); }
    public boolean process(Set<? extends TypeElement> a, RoundEnvironment e) { return false; }
    public static void main(String[] args) { System.out.println("main"); }
}
"#;
    let Some(host) = Host::new("annotation processor").await else { return };
    if let Some(verdict) = host.run_if_installed(compiler_limits(), "java", source).await {
        assert_eq!(verdict.outcome, PASSED, "{verdict:#?}");
        assert!(!verdict.compile_message.contains("RAN IN"), "{verdict:#?}");
    }
    // The compiler that serves many jobs stays for as long as its sandbox.
    host.assert_gone();
}

#[tokio::test]
async fn rust_includes_of_host_files() {
    let sources = [
        "fn main() { print!(\"{}\", include_str!(\"/etc/shadow\")); }\n",
        "fn main() { print!(\"{:?}\", include_bytes!(\"/root/.bashrc\")); }\n",
        "#[path = \"/root/.cargo/config.toml\"]\nmod outside;\nfn main() {}\n",
        "fn main() { print!(\"{}\", env!(\"OPENAI_API_KEY\")); }\n",
    ];
    compile("rust includes", "rust", compiler_limits(), &sources, &[REFUSED]).await;
    let bomb = "macro_rules! m { ($($t:tt)*) => { m!($($t)* $($t)* x) }; }\nm!(a b);\nfn main() {}\n";
    let constant = "const fn f(n: u64) -> u64 { if n < 2 { n } else { f(n - 1) + f(n - 2) } }\n\
        const X: u64 = f(60);\nfn main() { println!(\"{X}\"); }\n";
    compile("rust bombs", "rust", tight(), &[bomb, constant], &[REFUSED, TIME, MEMORY]).await;
}

#[tokio::test]
async fn template_haskell_runs_in_the_jail() {
    let spy = r#"{-# LANGUAGE TemplateHaskell #-}
import Language.Haskell.TH
import Control.Exception
import System.Environment
main :: IO ()
main = putStrLn $(do
    shadow <- runIO (try (readFile "/etc/shadow") :: IO (Either IOException String))
    outside <- runIO (try (writeFile "/usr/escaped" "x") :: IO (Either IOException ()))
    names <- runIO (fmap (map fst) getEnvironment)
    stringE (either (const "refused") id shadow ++ either (const " refused") (const " WROTE") outside
        ++ (if "OPENAI_API_KEY" `elem` names then " KEY" else "")))
"#;
    let endless = "{-# LANGUAGE TemplateHaskell #-}\nimport Language.Haskell.TH\n\
        main :: IO ()\nmain = print $(let f n = if n < (0 :: Integer) then n else f (n + 1) in litE (integerL (f 0)))\n";
    compile_time_code("template haskell", "haskell", spy, endless).await;
}

#[tokio::test]
async fn lisp_code_at_compile_time_runs_in_the_jail() {
    let spy = r#"
(defmacro spy ()
  (let ((shadow (handler-case (with-open-file (f "/etc/shadow") (read-line f)) (error () "refused")))
        (outside (handler-case (with-open-file (f "/usr/escaped" :direction :output) (print 1 f) "WROTE")
                   (error () "refused"))))
    (format nil "~a ~a" shadow outside)))
(format t "~a~%" (spy))
"#;
    let endless = "(defmacro endless () (loop))\n(print (endless))\n";
    compile_time_code("lisp macros", "common_lisp", spy, endless).await;
}

#[tokio::test]
async fn erlang_parse_transforms_run_in_the_jail() {
    let spy = "-module(test).\n-export([start/0]).\n-include(\"/etc/shadow\").\nstart() -> ok.\n";
    let Some(host) = Host::new("parse transform").await else { return };
    if let Some(verdict) = host.run_if_installed(compiler_limits(), "erlang", spy).await {
        assert_ne!(verdict.outcome, PASSED, "{verdict:#?}");
        assert_no_secret(&verdict);
    }
    host.assert_clean().await;
}

/// `spy` says what its code at compile time could do: nothing; `endless` never finishes compiling.
async fn compile_time_code(test: &str, language: &str, spy: &str, endless: &str) {
    let Some(host) = Host::new(test).await else { return };
    if let Some(verdict) = host.run_if_installed(compiler_limits(), language, spy).await {
        assert_eq!(verdict.outcome, PASSED, "{verdict:#?}");
        assert_eq!(verdict.stdout, "refused refused\n", "{verdict:#?}");
        assert!(!std::path::Path::new("/usr/escaped").exists());
        let verdict = host.run_within(tight(), language, endless).await;
        assert!([TIME, MEMORY].contains(&verdict.outcome), "{verdict:#?}");
    }
    host.assert_clean().await;
}
