//! Budgets, prices, pilots: what is spent, what stops a run, and that nothing is paid for twice.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const SEEDS: usize = 60;
const IN_FLIGHT: u64 = 8;

/// Tokens that the server charges for a prompt and its reply.
fn charge(prompt: &str, reply: &str) -> (u64, u64) {
    (prompt.len() as u64 / 4, reply.len() as u64 / 4)
}

/// The reply to a prompt: the same every time, of 100 to 1000 bytes.
fn said(prompt: &str) -> String {
    let hash = blake3::hash(prompt.as_bytes());
    let length = 100 + u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % 900;
    hash.to_hex().repeat(16)[..length as usize].to_owned()
}

fn answer(prompt: &str, finish_reason: &str) -> Said {
    let text = said(prompt);
    let (prompt_tokens, completion_tokens) = charge(prompt, &text);
    let body = json!({
        "model": "loopback",
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
    });
    (200, body.to_string())
}

fn charging() -> ChatServer {
    ChatServer::new(Duration::from_millis(5), |asked, _| answer(chat_server::prompt_of(asked), "stop"))
}

/// What the server has charged for all it was asked.
fn charged(server: &ChatServer) -> (u64, u64) {
    let prompts = server.chats();
    let charges = prompts.iter().map(|asked| {
        let prompt = chat_server::prompt_of(asked);
        charge(prompt, &said(prompt))
    });
    charges.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn many(place: &Place) {
    place.write("seeds.jsonl", (0..SEEDS).map(|n| seed(&format!("x = {n}"))).collect::<String>());
}

fn run_json(place: &Place, run: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(run).join("run.json")).unwrap()).unwrap()
}

fn spent(place: &Place, run: &str) -> (u64, u64) {
    let stages = &run_json(place, run)["cost"]["stages"]["ask.reply"]["python"];
    (stages["prompt_tokens"].as_u64().unwrap(), stages["completion_tokens"].as_u64().unwrap())
}

fn dataset(place: &Place, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = place.path(run).join("dataset");
    let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.strip_prefix(&dir).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// A run of `many` seeds with the options `more`.
fn run(place: &Place, server: &ChatServer, out: &str, more: &str) -> Ended {
    place.ask(server, &format!("run ask.toml --seeds seeds.jsonl --in-flight {IN_FLIGHT} --out {out} {more}"))
}

fn estimate(place: &Place, server: &ChatServer, out: &str, more: &str) -> Value {
    let ended =
        place.ask(server, &format!("estimate ask.toml --seeds seeds.jsonl --format json --out {out} {more}"));
    assert_eq!(ended.code, 0, "{ended:#?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn likely(estimate: &Value) -> f64 {
    let likely = |name: &str| estimate[name]["likely"].as_f64().unwrap();
    likely("prompt_tokens") + likely("completion_tokens")
}

/// What one call costs at most, tokens.
fn dearest(server: &ChatServer) -> u64 {
    let chats = server.chats();
    let costs = chats.iter().map(|asked| {
        let prompt = chat_server::prompt_of(asked);
        let (prompt, reply) = charge(prompt, &said(prompt));
        prompt + reply
    });
    costs.max().unwrap()
}

#[test]
fn a_cap_at_half_the_estimate_stops_there_and_resumes_to_the_same_bytes() {
    let place = Place::new();
    many(&place);
    let plenty = charging();
    run(&place, &plenty, "whole", "").says(0, &[]);
    assert_eq!(plenty.asked(), SEEDS);
    let dearest = dearest(&plenty);

    // By tokens and by USD: at 1 USD per million, a token is a millionth.
    let price = "--price-input 1 --price-output 1";
    for (out, usd) in [("tokens", false), ("usd", true)] {
        let server = charging();
        let pilot = estimate(&place, &server, out, "--pilot 10");
        assert_eq!(server.asked(), 10);
        let (prompts, replies) = charged(&plenty);
        let off = likely(&pilot) / (prompts + replies) as f64 - 1.0;
        assert!(off.abs() < 0.1, "the estimate is off by {:.1} %", 100.0 * off);

        let cap = (likely(&pilot) / 2.0) as u64;
        let cap_flag = match usd {
            true => format!("{price} --max-usd {}", cap as f64 / 1e6),
            false => format!("--max-total-tokens {cap}"),
        };
        let stopped = run(&place, &server, out, &cap_flag);
        stopped.says(4, &["the budget is spent", "are spent, the next call takes about", "raise --max-usd"]);
        let told = charged(&server);
        assert_eq!(spent(&place, out), told, "the pilot's and the run's calls are all told");
        let sum = told.0 + told.1;
        let allowance = IN_FLIGHT * dearest;
        assert!(
            sum <= cap + allowance && sum + allowance >= cap,
            "{sum} spent of {cap}, allowance {allowance}"
        );
        assert!(server.asked() < SEEDS);
        let rows = place.table(out, "dataset").len();
        // Rows of partitions that were never begun are not, though the pilot has answers for some.
        assert!(rows <= server.asked() && rows + 10 >= server.asked(), "{rows} rows of {}", server.asked());

        // The same cap again: nothing more is asked.
        let before = server.asked();
        run(&place, &server, out, &cap_flag).says(4, &["the budget is spent"]);
        assert_eq!(server.asked(), before);

        run(&place, &server, out, "").says(0, &[]);
        assert_eq!(server.asked(), SEEDS, "something was paid for twice");
        assert_eq!(dataset(&place, out), dataset(&place, "whole"));
    }
}

#[test]
fn what_a_killed_run_has_spent_counts() {
    let place = Place::new();
    many(&place);
    let server =
        ChatServer::new(Duration::from_millis(50), |asked, _| answer(chat_server::prompt_of(asked), "stop"));
    let args = "run ask.toml --seeds seeds.jsonl --in-flight 2 --out r --model m";
    let mut child = place
        .command(&format!("{args} --base-url {}", server.base_url))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while server.asked() < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // run.json knows nothing of these calls; the journal does.
    assert!(run_json(&place, "r")["cost"]["stages"]["ask.reply"].is_null());
    let asked = server.asked();
    place.ask(&server, "run ask.toml --seeds seeds.jsonl --out r --max-total-tokens 1").says(4, &[]);
    assert_eq!(server.asked(), asked);
    let replies = run_json(&place, "r")["cost"]["stages"]["ask.reply"]["python"]["replies"].as_u64().unwrap();
    assert!((8..=10).contains(&replies), "{replies} of {asked}");
}

#[test]
fn a_price_that_is_not_known_is_called_so_and_refused_as_a_cap() {
    let place = Place::new();
    let server = charging();
    run(&place, &server, "r", "--max-usd 1")
        .says(2, &["price of the model `m` is not known", "--price-input"]);
    assert_eq!(server.asked(), 0);
    let unknown = run(&place, &server, "r", "");
    assert!(unknown.code == 0 && unknown.stdout.contains("cost     unknown for"), "{unknown:#?}");
    assert!(run_json(&place, "r")["cost"]["usd"].is_null());
    let query = place.run("query cost --run r --format csv");
    assert!(
        query.stdout.contains("ask.reply,python,2,") && query.stdout.trim_end().ends_with(','),
        "{query:#?}"
    );

    // The same run, at prices of a list of one's own: nothing is asked again.
    place.write(
        "prices.toml",
        "[[model]]\nnames = [\"m\"]\ninput = 1000000\noutput = 0\nas_of = \"2026-01-31\"\n",
    );
    let known = run(&place, &server, "r", "--pricing prices.toml --max-usd 1000000");
    let (prompts, _) = charged(&server);
    assert!(known.stdout.contains(&format!("cost     {prompts}.00 USD for")), "{known:#?}");
    assert!(known.stdout.contains("prices.toml, as of 2026-01-31"), "{known:#?}");
    assert_eq!(run_json(&place, "r")["cost"]["usd"].as_f64(), Some(prompts as f64));
    assert_eq!(run_json(&place, "r")["cost"]["usd_by_language"]["python"].as_f64(), Some(prompts as f64));
    let query = place.run("query cost --run r --format csv");
    assert!(query.stdout.contains(&format!(",{prompts}.0\n")), "{query:#?}");
    assert_eq!(server.asked(), 2);

    place.write("prices.toml", "[[model]]\nnames = [\"m\"]\ninput = \"much\"\noutput = 0\n");
    run(&place, &server, "r", "--pricing prices.toml").says(2, &["prices.toml", "data/pricing.toml"]);
    let table = place.run("estimate ask.toml --seeds seeds.jsonl --model m --out r2");
    assert!(
        table.code == 0 && table.stdout.contains("unknown") && !table.stdout.contains("0.0000"),
        "{table:#?}"
    );
    assert!(!place.path("r2").exists(), "an estimate without a pilot writes nothing");
}

#[test]
fn failed_calls_that_are_charged_for_are_spent() {
    let place = Place::new();
    let server = ChatServer::new(Duration::ZERO, |asked, _| {
        // DeepSeek's way of giving up half-way.
        answer(chat_server::prompt_of(asked), "insufficient_system_resource")
    });
    run(&place, &server, "r", "--tries 1").says(1, &["pending: 2 rows"]);
    let cost = &run_json(&place, "r")["cost"];
    let paid = &cost["stages"]["ask.reply"]["python"];
    let (prompts, replies) = charged(&server);
    assert_eq!(
        paid["failed"],
        json!({"prompt_tokens": prompts, "cached_tokens": 0, "completion_tokens": replies})
    );
    assert_eq!(paid["replies"], 0);
    // They count when the run goes on.
    let asked = server.asked();
    let cap = format!("--max-total-tokens {}", prompts + replies);
    run(&place, &server, "r", &cap).says(4, &["the budget is spent"]);
    assert_eq!(server.asked(), asked);
}
