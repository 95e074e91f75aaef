//! Languages with prepared files, without namespaces: their probes, and what their programs and compilers must not
//! reach.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::Job;
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{Isolation, LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use serde_json::Value;
use tempfile::TempDir;

use crate::common;

/// Shows toolchains that only root can reach in a folder that all can, in a mount namespace of the test's own, where
/// prepared files are the test's own as well.
const SHOW: &str = r#"
set -e
mount --make-rprivate /
mkdir -p go rust cargo/autocodegen cache
mount --bind cache /var/cache
if rust=$(rustc --print sysroot); then mount --bind "$rust" rust; fi
if go=$(go env GOROOT); then mount --bind "$go" go; fi
crates=${CARGO_HOME:-$HOME/.cargo}/autocodegen
if [ -d "$crates" ]; then mount --bind "$crates" cargo/autocodegen; fi
exec "$@"
"#;

/// Tries to change what is not its own; says `contained` when it could not. `FILES` are to be written, `SECRET` is to
/// be read and removed.
fn attack(language: &str) -> &'static str {
    match language {
        "c" | "cpp" => {
            r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main() {
    const char *files[] = {FILES};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        if (open(files[i], O_WRONLY | O_CREAT, 0666) >= 0) { puts(files[i]); return 1; }
    if (open(SECRET, O_RDONLY) >= 0 || unlink(SECRET) == 0) { puts("secret"); return 1; }
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0) { puts("socket"); return 1; }
    puts("contained");
    return 0;
}
"#
        }
        "java" => {
            r#"
import java.nio.file.*;
public class Attack {
    interface Deed { void run() throws Exception; }
    static void refused(String what, Deed deed) throws Exception {
        try { deed.run(); } catch (java.io.IOException refused) { return; }
        throw new Exception(what);
    }
    public static void main(String[] args) throws Exception {
        for (String file : new String[] {FILES}) refused(file, () -> Files.write(Paths.get(file), new byte[1]));
        refused("read", () -> Files.readAllBytes(Paths.get(SECRET)));
        refused("remove", () -> Files.delete(Paths.get(SECRET)));
        refused("listen", () -> new java.net.ServerSocket(0));
        System.out.println("contained");
    }
}
"#
        }
        "rust" => {
            r#"
fn main() {
    for file in [FILES] { assert!(std::fs::OpenOptions::new().write(true).create(true).open(file).is_err(), "{file}"); }
    assert!(std::fs::read(SECRET).is_err() && std::fs::remove_file(SECRET).is_err());
    assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
    println!("contained");
}
"#
        }
        _ => {
            r#"
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	for _, file := range []string{FILES} {
		if _, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o666); err == nil {
			panic(file)
		}
	}
	if _, err := os.ReadFile(SECRET); err == nil || os.Remove(SECRET) == nil {
		panic("secret")
	}
	if _, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		panic("listen")
	}
	fmt.Println("contained")
}
"#
        }
    }
}

/// A folder that all users reach, with what jobs are run from.
struct Place {
    folder: TempDir,
    /// Whether jobs are run by an ordinary user.
    ordinary: bool,
}

impl Place {
    fn new(test: &str, ordinary: bool) -> Option<Self> {
        let may = Command::new("unshare").args(["--mount", "setpriv", "--reuid=65534", "true"]).status();
        if !may.is_ok_and(|status| status.success()) {
            common::skip(test, "this user may not mount or become another one (unshare, setpriv)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        common::copy_executable(env!("CARGO_BIN_EXE_autocodegen"), folder.path().join("autocodegen"));
        fs::create_dir(folder.path().join("home")).unwrap();
        for (name, mode) in [("", 0o755), ("home", 0o777)] {
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let place = Self { folder, ordinary };
        let isolation = place.exec("shell", "true", None)["isolation"].as_str().unwrap().to_owned();
        if !isolation.contains("reduced+landlock") {
            common::skip(test, "no Landlock in this kernel");
            return None;
        }
        Some(place)
    }

    /// The verdict on one program.
    fn exec(&self, language: &str, source: &str, tests: Option<&str>) -> Value {
        let folder = self.folder.path();
        let place = folder.display();
        fs::write(folder.join("source"), source).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SHOW, "sh"]);
        if self.ordinary {
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command
            .args(["env", &format!("PATH={place}/rust/bin:{place}/go/bin:/usr/bin:/bin")])
            .args([&format!("CARGO_HOME={place}/cargo"), &format!("HOME={place}/home"), "./autocodegen"])
            .args(["sandbox", "exec", "--isolation", "reduced", "--language", language]);
        if let Some(tests) = tests {
            fs::write(folder.join("tests"), tests).unwrap();
            command.args(["--tests", "tests"]);
        }
        command.arg("source").current_dir(folder).env("TMPDIR", "/tmp");
        // Cargo's is of the toolchain where only root can reach it.
        command.env_remove("XDG_CACHE_HOME").env_remove("LD_LIBRARY_PATH");
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{language}: {output:#?}"))
    }

    /// Paths, permissions and content of what is prepared for `language`.
    fn prepared(&self, language: &str) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
        let caches = if self.ordinary { "home/.cache/autocodegen/reduced" } else { "cache/autocodegen" };
        let pattern = self.folder.path().join(caches).join(format!("{language}-*/files/**/*"));
        let files = glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap);
        let files = files.filter(|path| path.symlink_metadata().unwrap().is_file()).map(|path| {
            let metadata = path.metadata().unwrap();
            let content = fs::read(&path).unwrap();
            (path, (metadata.permissions().mode(), metadata.uid(), content))
        });
        files.collect()
    }

    /// Where jobs without namespaces see the prepared file `path`.
    fn seen(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(self.folder.path().join("cache")) {
            Ok(name) if !self.ordinary => Path::new("/var/cache").join(name),
            _ => path.to_owned(),
        }
    }
}

fn check(test: &str, ordinary: bool, names: &[&str]) {
    let Some(place) = Place::new(test, ordinary) else { return };
    let secret = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(secret.path(), "very secret").unwrap();
    let languages = Languages::embedded().unwrap();
    for name in names {
        let language = languages.get(name).unwrap();
        if let Err(missing) = toolchain::find(language) {
            common::skip(test, &missing.to_string());
            continue;
        }
        for (kind, probe) in language.probe.iter().filter(|(kind, _)| *kind != "looping") {
            let verdict = place.exec(name, &probe.source, probe.tests.as_deref());
            assert_eq!(
                verdict["outcome"],
                serde_json::to_value(probe.outcome).unwrap(),
                "{name}, {kind}: {verdict:#}"
            );
        }
        let before = place.prepared(name);
        let (file, (mode, owner, _)) = before.first_key_value().unwrap();
        assert_eq!((mode & 0o022, *owner), (0, if ordinary { 65534 } else { 0 }), "{}", file.display());

        let file = place.seen(file);
        let beside = file.with_file_name("mine");
        let files =
            [&file, &beside, Path::new("/tmp/mine"), Path::new("/var/tmp/mine"), Path::new("../mine")];
        let files = files.map(|file| format!("{file:?}")).join(", ");
        let path = format!("{:?}", secret.path());
        let verdict = place.exec(name, &attack(name).replace("FILES", &files).replace("SECRET", &path), None);
        assert_eq!(
            (&verdict["outcome"], &verdict["stdout"]),
            (&"PASSED".into(), &"contained\n".into()),
            "{verdict:#}"
        );

        let include = match *name {
            "c" | "cpp" => format!("#include {path}\nint main() {{}}"),
            "rust" => format!("fn main() {{ println!(\"{{}}\", include_str!({path})); }}"),
            _ => continue,
        };
        let verdict = place.exec(name, &include, None);
        assert_eq!(verdict["outcome"], "COMPILATION_ERROR", "{verdict:#}");
        assert!(!verdict.to_string().contains("very secret"), "{verdict:#}");
        assert!(place.prepared(name) == before, "the prepared files of {name} have changed");
    }
    assert_eq!(fs::read_to_string(secret.path()).unwrap(), "very secret");
}

#[test]
fn reduced_prepared_files_as_root() {
    check("reduced, prepared files", false, &["c", "cpp", "java", "rust", "go"]);
}

#[test]
fn reduced_prepared_files_as_an_ordinary_user() {
    check("ordinary user, reduced, prepared files", true, &["c", "java", "rust"]);
}

/// Root's jobs cannot enter root's home; that is said, and is no verdict.
#[tokio::test]
async fn reduced_toolchains_of_root_alone_are_refused() {
    let language = "hidden";
    let Some(place) = Place::new("reduced, toolchain of root", false) else { return };
    let program = place.folder.path().join("home/program");
    common::copy_executable("/bin/true", &program);
    fs::set_permissions(place.folder.path().join("home"), fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!(
        r#"
name = "{language}"
file_name = "test"
run = [{program:?}]
[toolchain]
version = ["/bin/true", "--version"]
[toolchain.programs.true]
install = {{ apt = "coreutils" }}
[toolchain.files.program]
path = {program:?}
install = {{ apt = "none" }}
[probe]
passing = {{ source = "", outcome = "PASSED" }}
failing = {{ source = "", outcome = "PASSED" }}
crashing = {{ source = "", outcome = "PASSED" }}
looping = {{ source = "", outcome = "PASSED" }}
"#
    );
    let languages = Languages::new(vec![Language::parse("test", &text).unwrap()]).unwrap();
    let options = Options {
        launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()),
        isolation: Isolation::Reduced,
        languages: Some(languages),
        ..Options::default()
    };
    let sandbox = LocalSandbox::start(options).unwrap();
    let job = Job { language: language.to_owned(), ..Job::default() };
    let fault = sandbox.run(&job).await.unwrap_err();
    assert_eq!(fault.cause, "isolation");
    assert!(fault.message.contains("/home, closed to the users"), "{fault:?}");
}
