//! Rows, columns, reasons and names that would like to be more than text, opened in a real browser.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::chat_server::{self, ChatServer, reply};
use super::common::{self, ended, skip};
use super::page;

/// A pipeline of one question, whose answer must have two blocks of code.
const PIPELINE: &str = r#"
name = "ask"

[[stage]]
name = "ask.prompt"
op = "prompt"
template = "solution"

[[stage]]
name = "ask.reply"
op = "model"

[[stage]]
name = "ask.extract"
op = "extract_blocks"
into = ["canonical_solution", "demo_test_func"]

[[stage]]
name = "finished"
op = "select"
first = ["id", "language", "canonical_solution"]
"#;

/// Ends of everything that text can be put into, each followed by something that would be seen.
fn attacks(port: u16) -> Vec<String> {
    let does = format!(
        "document.title='owned';document.documentElement.className='owned';new Image().src='http://127.0.0.1:{port}/'"
    );
    vec![
        format!("<script>{does}</script>"),
        format!("</pre></details></section><script>{does}</script>"),
        format!("\"><img src=x onerror=\"{does}\">"),
        format!("' onmouseover='{does}"),
        format!("</title></style></textarea><svg onload=\"{does}\">"),
        format!("<img src=\"http://127.0.0.1:{port}/pixel\"><iframe src=\"javascript:{does}\"></iframe>"),
        format!("]]>--><!--<![CDATA[</script><script>{does}</script>"),
        "{{ 7 * 7 }}{% raw %}{# #}{{ page.title|safe }}".to_owned(),
        "&lt;script&gt; &#60;b&#62; &amp;amp;".to_owned(),
        format!("<style>@import 'http://127.0.0.1:{port}/';body{{display:none}}</style><base href=//evil>"),
        "nul\u{0}esc\u{1b}[2J bidi\u{202e}txet\u{2066} zero\u{200b}width bom\u{feff} line\u{2028}sep\r"
            .to_owned(),
    ]
}

/// What a reader sees of an attack: the same, with what would not be seen escaped.
fn seen(attack: &str) -> String {
    let escape = |c: char| {
        if c.is_control() || ('\u{200b}'..'\u{2070}').contains(&c) || c == '\u{feff}' {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    attack.chars().map(escape).collect()
}

/// A run whose seeds, columns, replies and finish reasons are attacks.
fn hostile_run(dir: &Path, port: u16) {
    std::fs::write(dir.join("ask.toml"), PIPELINE).unwrap();
    let attacks = attacks(port);
    // Every row has them all: only a few rows of each kind are shown.
    let all = attacks.join("\n");
    let mut seeds = String::new();
    for (n, attack) in attacks.iter().enumerate() {
        let text = format!("seed {n}\n{all}\n");
        let seed = json!({"text": text, "language": "python", "difficulty": attack, "category": attack, attack: attack});
        seeds += &format!("{seed}\n");
    }
    seeds += &format!("{{broken {}\n", attacks[0]);
    let name = "<script>document.title='owned'<\u{2215}script>.jsonl";
    std::fs::write(dir.join(name), seeds).unwrap();
    let server = ChatServer::new(Duration::ZERO, move |asked, _| {
        let prompt = chat_server::prompt_of(asked);
        let at = (0..attacks.len()).rev().find(|n| prompt.contains(&format!("seed {n}\n"))).unwrap();
        let attack = &attacks[at];
        match at % 3 {
            0 => reply(&format!("{all}\n```python\n{all}\n```\n```{attack}\n{all}\n```\n")),
            1 => reply(&format!("{all}\n```{attack}\n{all}\n```\n{all}")),
            _ => {
                let choice = json!({"message": {"content": all}, "finish_reason": attack});
                (200, json!({"model": attack, "choices": [choice]}).to_string())
            }
        }
    });
    let mut command = common::command(dir, "run ask.toml --out hostile --model m");
    command.args(["--base-url", &server.base_url, "--seeds", name]);
    let run = ended(command.output().unwrap());
    assert_eq!(run.code, 0, "{run:#?}");
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
}

/// The document that the browser makes of `file`, as HTML.
fn opened(browser: &Path, file: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
        ])
        .args(["--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(dom.contains("</html>"), "{}", String::from_utf8_lossy(&output.stderr));
    dom
}

/// What is left of `html` without tags, entities resolved; and the tags.
fn read(html: &str) -> (String, Vec<String>) {
    let (mut text, mut tags, mut rest) = (String::new(), Vec::new(), html);
    while let Some((before, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        text += before;
        tags.push(tag.to_owned());
        rest = after;
    }
    text += rest;
    for (entity, c) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&nbsp;", "\u{a0}"), ("&amp;", "&")]
    {
        text = text.replace(entity, c);
    }
    (text, tags)
}

/// A port of this machine, and how often it was asked something.
fn listening() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.unwrap().read(&mut [0; 512]);
        }
    });
    (port, asked)
}

#[test]
fn hostile_rows_are_text_in_a_browser() {
    let Some(browser) = chromium() else {
        return skip("hostile_rows_are_text_in_a_browser", "there is no chromium; apt-get install chromium");
    };
    let place = tempfile::tempdir().unwrap();
    let (port, asked) = listening();
    hostile_run(place.path(), port);
    let html = page(&place.path().join("hostile"));

    // The page forbids scripts; without that it has none either.
    let policy = html.lines().find(|line| line.contains("Content-Security-Policy")).unwrap();
    let bare = place.path().join("bare.html");
    std::fs::write(&bare, html.replace(policy, "")).unwrap();
    for file in [place.path().join("hostile/report.html"), bare] {
        let dom = opened(&browser, &file);
        let (text, tags) = read(&dom);
        assert!(dom.contains("<title>hostile: report</title>"), "the title was changed");
        let known = [
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "header",
            "main",
            "section",
            "footer",
            "nav",
            "a",
            "h1",
            "h2",
            "h3",
            "h4",
            "p",
            "dl",
            "div",
            "dt",
            "dd",
            "figure",
            "figcaption",
            "svg",
            "text",
            "line",
            "polyline",
            "rect",
            "circle",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
            "pre",
            "span",
        ];
        for tag in tags.iter().filter(|tag| !tag.starts_with('!')) {
            let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
            assert!(known.contains(&name), "<{tag}>");
            assert!(!tag.contains(" on") && !tag.contains("owned"), "<{tag}>");
        }
        assert_eq!(tags.iter().filter(|tag| *tag == "h1").count(), 1);
        for attack in attacks(port) {
            let shown = text.matches(&seen(&attack)).count();
            assert!(shown > 5, "{attack:?} is shown {shown} times by {}", file.display());
        }
        let hidden = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n' && *c != '\t') || ('\u{202a}'..='\u{2069}').contains(c));
        assert_eq!(hidden, None);
        assert!(text.contains("</pre></details></section><script>"), "an attack is not whole");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the page asked for something");

    // The same in a page that does not escape is seen to run.
    let control = place.path().join("control.html");
    std::fs::write(&control, format!("<html><title>plain</title><pre>{}", attacks(port)[0])).unwrap();
    let dom = opened(&browser, &control);
    assert!(dom.contains("<title>owned</title>") && dom.contains("class=\"owned\""), "{dom}");
    assert!(asked.load(Ordering::SeqCst) > 0);
}
