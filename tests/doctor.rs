//! `doctor` and `sandbox exec`: the binary with real, fake and missing toolchains on its `PATH`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

fn autocodegen(path: &str) -> Command {
    let mut command = Command::cargo_bin("autocodegen").unwrap();
    command.env("PATH", path);
    command
}

/// An executable script.
fn script(directory: &Path, name: &str, text: &str) {
    let draft = tempfile::NamedTempFile::new().unwrap();
    fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    common::copy_executable(draft.path(), directory.join(name));
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

/// The inherited `PATH`.
fn real_path() -> String {
    std::env::var("PATH").unwrap()
}

#[test]
fn a_missing_toolchain_is_told_with_what_installs_it() {
    let empty = TempDir::new().unwrap();
    let output = autocodegen(empty.path().to_str().unwrap())
        .args(["doctor", "--language", "python", "--language", "js", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let report = json(&output.stdout);
    assert_eq!(report["toolchains"][0]["installed"], false);
    assert_eq!(report["toolchains"][0]["missing"][0], "python3");
    let install: Vec<_> =
        report["install"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(install[0].ends_with("apt-get update"), "{install:?}");
    assert!(install[1].ends_with("apt-get install -y --no-install-recommends nodejs python3"), "{install:?}");
}

#[test]
fn install_runs_the_commands_it_shows() {
    let bin = TempDir::new().unwrap();
    let path = bin.path().to_str().unwrap();
    let log = bin.path().join("log");
    let real_bash = "/bin/bash";
    script(
        bin.path(),
        "apt-get",
        &format!(
            "echo \"$@\" >> {}; [ $1 = update ] || /bin/ln -s {real_bash} {path}/bash; echo chatter",
            log.display()
        ),
    );
    script(bin.path(), "sudo", "exec \"$@\"");
    let output = autocodegen(path).args(["doctor", "--language", "bash", "--install"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(log).unwrap(), "update\ninstall -y --no-install-recommends bash\n");
    assert!(stderr.contains("apt-get update\n") && stderr.contains("chatter"), "{stderr}");
    assert!(stdout.contains("GNU bash") && !stdout.contains("chatter"), "{stdout}");
}

#[test]
fn a_failing_install_command_ends_it() {
    let bin = TempDir::new().unwrap();
    script(bin.path(), "apt-get", "exit 7");
    script(bin.path(), "sudo", "exec \"$@\"");
    let output = autocodegen(bin.path().to_str().unwrap())
        .args(["doctor", "--language", "shell", "--install"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("apt-get update`: failed with exit status: 7"), "{stderr}");
}

#[test]
fn a_toolchain_that_does_not_work_is_missing() {
    let bin = TempDir::new().unwrap();
    script(bin.path(), "bash", "exit 1");
    let output = autocodegen(bin.path().to_str().unwrap())
        .args(["doctor", "--language", "shell", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let missing = json(&output.stdout)["toolchains"][0]["missing"].to_string();
    assert!(missing.contains("a working") && missing.contains("--version"), "{missing}");
}

/// Version switchers put scripts on `PATH` that read a person's configuration: useless in a jail.
#[test]
fn the_interpreter_behind_a_wrapper_script_is_found() {
    let doctor = |path: &str| {
        let mut command = autocodegen(path);
        command.args(["doctor", "--language", "python", "--format", "json"]);
        json(&command.output().unwrap().stdout)["toolchains"][0].clone()
    };
    let real = doctor(&real_path());
    if real["installed"] == false {
        return common::skip("wrapper script", "python3 is not installed");
    }
    let bin = TempDir::new().unwrap();
    let python = real["paths"]["python3"].as_str().unwrap();
    script(bin.path(), "python3", &format!("exec {python} \"$@\""));
    assert_eq!(doctor(bin.path().to_str().unwrap()), real);

    let linked = TempDir::new().unwrap();
    symlink(bin.path().join("python3"), linked.path().join("python3")).unwrap();
    assert_eq!(doctor(linked.path().to_str().unwrap()), real);
}

#[test]
fn unknown_languages_are_refused() {
    autocodegen(&real_path()).args(["doctor", "--language", "klingon"]).assert().code(2);
    autocodegen(&real_path()).args(["sandbox", "exec", "--language", "klingon", "-"]).assert().code(2);
}

#[test]
fn exec_prints_a_verdict() {
    let output = autocodegen(&real_path())
        .args(["sandbox", "exec", "--language", "sh", "--timeout", "3", "-"])
        .write_stdin("echo out; echo err >&2; exit 3")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        return common::skip("exec", &stderr);
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let verdict = json(&output.stdout);
    assert_eq!(verdict["outcome"], "RUNTIME_ERROR");
    assert_eq!((&verdict["stdout"], &verdict["stderr"]), (&"out\n".into(), &"err\n".into()));
    assert_eq!((&verdict["exit_code"], &verdict["signal"]), (&3.into(), &Value::Null));
    assert_eq!(verdict["truncated"], false);
    for field in ["wall_ms", "cpu_ms", "peak_rss_bytes"] {
        assert!(verdict[field].is_u64(), "{field}: {verdict}");
    }
    for field in ["toolchain", "isolation", "reason"] {
        assert_ne!(verdict[field].as_str().unwrap(), "", "{field}");
    }
}

#[test]
fn exec_splices_tests_and_knows_languages_by_extension() {
    let files = TempDir::new().unwrap();
    let (solution, tests) = (files.path().join("solution.sh"), files.path().join("tests.txt"));
    fs::write(&solution, "double() { echo $((2 * $1)); }").unwrap();
    fs::write(&tests, "[ $(double 4) = 8 ] && echo right").unwrap();
    let mut command = autocodegen(&real_path());
    command.args(["sandbox", "exec"]).arg("--tests").arg(&tests).arg(&solution);
    let output = command.output().unwrap();
    if output.status.code() == Some(3) {
        return common::skip("exec with tests", &String::from_utf8_lossy(&output.stderr));
    }
    let verdict = json(&output.stdout);
    assert_eq!((&verdict["outcome"], &verdict["stdout"]), (&"PASSED".into(), &"right\n".into()));
}

#[test]
fn exec_without_a_toolchain_says_what_installs_it() {
    let empty = TempDir::new().unwrap();
    let output = autocodegen(empty.path().to_str().unwrap())
        .args(["sandbox", "exec", "--language", "shell", "-"])
        .write_stdin("true")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    if output.stdout.is_empty() {
        return common::skip("exec without a toolchain", &String::from_utf8_lossy(&output.stderr));
    }
    let verdict = json(&output.stdout);
    assert_eq!(verdict["outcome"], "TOOLCHAIN_MISSING");
    assert_eq!(verdict["missing"][0], "bash");
    assert!(verdict["install"][1].as_str().unwrap().ends_with(" bash"), "{verdict}");
}

#[test]
fn exec_refuses_bad_input() {
    let files = TempDir::new().unwrap();
    let binary = files.path().join("binary.py");
    fs::write(&binary, b"print(1)\xff").unwrap();
    let fine = files.path().join("fine.py");
    fs::write(&fine, "print(1)").unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&[binary.to_str().unwrap()], "byte 8 is invalid"),
        (&["absent.py"], "absent.py"),
        (&["program.xyz"], "--language"),
        (&["--timeout", "0", "a.py"], "timeout"),
        (&["--sandbox", "nonsense", "--language", "py", fine.to_str().unwrap()], "nonsense"),
    ];
    for (arguments, expected) in cases {
        let output = autocodegen(&real_path()).args(["sandbox", "exec"]).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn exec_at_a_service_that_is_down_is_an_environment_error() {
    let (_socket, closed) = common::closed_port();
    let url = format!("http://{closed}");
    let output = autocodegen(&real_path())
        .args(["sandbox", "exec", "--sandbox", &url, "--language", "py", "-"])
        .write_stdin("print(1)")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&url));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.args(["doctor", "--language", "shell", "--format", "json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_ne!(output.status.code(), Some(101));
}
