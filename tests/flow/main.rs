//! The pool of endpoints against loopback servers that limit, lie, break and come back: every call is answered, once.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod server;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use autocodegen::error::{Fault, Recovery};
use autocodegen::llm::chat::{ChatRequest, Message, Reply, Sampling};
use autocodegen::llm::client::{Endpoint, HttpModel};
use autocodegen::llm::key::request_key;
use autocodegen::llm::pool::Pool;
use autocodegen::llm::{Limits, Model};
use autocodegen::retry::{RetryPolicy, with_retries};
use server::{Act, Admission, Server, busy, serve, status};
use tokio::sync::Semaphore;

const LATE: Duration = Duration::from_millis(400);
const MS: Duration = Duration::from_millis(1);

fn client(base_url: &str) -> HttpModel {
    HttpModel::new(Endpoint { timeout: LATE, max_response_bytes: 100_000, ..Endpoint::new(base_url, None) })
        .unwrap()
}

fn limited(in_flight: usize) -> Limits {
    Limits { in_flight, ..Limits::default() }
}

fn pool_of(urls: &[&str], in_flight: usize, patience: Duration) -> Pool {
    Pool::new(urls.iter().map(|url| (client(url), limited(in_flight))).collect(), patience).unwrap()
}

fn request(n: usize) -> ChatRequest {
    let sampling = Arc::new(Sampling { model: "m".into(), ..Sampling::default() });
    let messages = vec![Message { role: "user".into(), content: format!("prompt {n}") }];
    let key = request_key(&sampling, &messages, 0);
    ChatRequest {
        key,
        stage: "s.reply".into(),
        row: n.to_string(),
        language: "go".into(),
        sample: 0,
        sampling,
        messages: messages.into(),
    }
}

/// Asks `rows` requests the way the engine does: at most as many at once as the pool takes, each tried again after faults.
async fn ask(pool: Pool, rows: usize, tries: u32) -> (Vec<Result<Reply, Fault>>, Arc<Pool>) {
    let policy =
        RetryPolicy { tries, min_wait: MS, max_wait: 20 * MS, max_retry_after: Duration::from_secs(1) };
    let (pool, slots) = (Arc::new(pool), Arc::new(Semaphore::new(256)));
    let calls = (0..rows).map(|n| {
        let (pool, slots) = (pool.clone(), slots.clone());
        tokio::spawn(async move {
            let request = request(n);
            let attempt = |_| async {
                let _slot = slots.acquire().await.unwrap();
                pool.ask(&request).await
            };
            with_retries(&policy, pending(), attempt, |_, _| ()).await.result
        })
    });
    let results = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    (results, pool)
}

/// Every row has its own answer.
fn assert_answered(results: &[Result<Reply, Fault>]) {
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(reply) => assert_eq!(reply.output, format!("re: prompt {n}")),
            Err(fault) => panic!("row {n}: {} {fault}", fault.cause),
        }
    }
}

/// No whole reply was asked for twice.
fn assert_asked_once(server: &Server, rows: usize) {
    let log = server.log.lock().unwrap();
    let twice: Vec<_> = log.answered.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty() && log.answered.len() == rows, "{} rows, twice {twice:?}", log.answered.len());
}

/// A server that admits a tenth of what 64 calls in flight would be: what it admits is used, nothing of it is wasted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_rate_limited_endpoint_admits_is_used() {
    let admission = Arc::new(Admission::new(100.0));
    let admits = admission.clone();
    let server = serve(20 * MS, move |_, _| match admits.admits() {
        true => Act::Answer,
        false => Act::Say(429, vec![("retry-after", "0.5".into())], String::new()),
    })
    .await;
    let (results, pool) = ask(pool_of(&[&server.base_url], 64, 600 * LATE), 450, 1).await;
    let used = 450.0 / admission.capacity();
    assert_answered(&results);
    assert_asked_once(&server, 450);
    assert!(used >= 0.95, "only {:.1} % of what was admitted is used", used * 100.0);
    let status = pool.status().unwrap();
    assert_eq!((status.endpoints[0].answered, status.waiting), (450, 0));
    assert!(status.endpoints[0].faults["rate_limited"] > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_refusals_in_ten_cost_no_tries() {
    let server = serve(MS, |n, _| if n.is_multiple_of(10) { Act::Answer } else { busy(2 * MS) }).await;
    let (results, _) = ask(pool_of(&[&server.base_url], 64, 600 * LATE), 150, 1).await;
    assert_answered(&results);
    assert_asked_once(&server, 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_random_faults_no_row_is_lost_or_doubled() {
    let server = serve(2 * MS, |_, _| {
        // 30 %, of every kind alike.
        match fastrand::usize(..50) {
            0..3 => status(500, "oops"),
            3..6 => Act::Reset,
            6..9 => status(200, r#"{"choices": [{"message": {"content": "tru"#),
            9..12 => Act::Hang,
            12..15 => Act::Drip,
            _ => Act::Answer,
        }
    })
    .await;
    let (results, pool) = ask(pool_of(&[&server.base_url], 64, 600 * LATE), 400, 12).await;
    assert_answered(&results);
    assert_asked_once(&server, 400);
    let status = pool.status().unwrap();
    let faults = &status.endpoints[0].faults;
    for cause in ["server_error", "connection", "malformed_reply", "timeout"] {
        assert!(faults.get(cause).is_some_and(|count| *count > 0), "{faults:?}");
    }
}

/// With one try a call: that an endpoint is dead, lies or refuses our key is no call's fault while another one lives.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_endpoint_of_two_loses_nothing() {
    let bad: Vec<(&str, Act)> = vec![
        ("html", status(200, "<html>busy</html>")),
        ("truncated", status(200, r#"{"choices": [{"mess"#)),
        ("empty choices", status(200, r#"{"choices": []}"#)),
        ("wrong type", Act::Say(200, vec![("content-type", "image/png".into())], "\u{1}PNG".into())),
        ("endless", Act::Endless),
        ("hangs", Act::Hang),
        ("drips", Act::Drip),
        ("resets", Act::Reset),
        ("500", status(500, "")),
        ("503", status(503, "")),
        ("429", busy(Duration::from_secs(3600))),
        ("401", status(401, "no")),
        ("402", status(402, "pay")),
        ("404", status(404, "no model")),
        ("400", status(400, "no")),
        ("too long", status(400, "maximum context length is 8")),
    ];
    let runs = bad.into_iter().map(|(name, act)| async move {
        let lying = serve(MS, move |_, _| act.clone()).await;
        let good = serve(MS, |_, _| Act::Answer).await;
        let (results, _) = ask(pool_of(&[&lying.base_url, &good.base_url], 8, 600 * LATE), 60, 1).await;
        assert_answered(&results);
        assert_asked_once(&good, 60);
        assert!(!lying.log.lock().unwrap().asked.is_empty(), "{name} was never asked");
    });
    futures::future::join_all(runs).await;
    // Nobody listens at all.
    let (_socket, closed) = common::closed_port();
    let good = serve(MS, |_, _| Act::Answer).await;
    let (results, pool) =
        ask(pool_of(&[&format!("http://{closed}/v1"), &good.base_url], 8, 600 * LATE), 60, 1).await;
    assert_answered(&results);
    assert!(pool.status().unwrap().endpoints[0].faults["connection"] <= 20, "the breaker never opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_an_endpoint_asks_for_is_everybodys() {
    let server = serve(MS, |n, _| if n == 5 { busy(400 * MS) } else { Act::Answer }).await;
    let (results, _) = ask(pool_of(&[&server.base_url], 4, 600 * LATE), 40, 1).await;
    assert_answered(&results);
    let log = server.log.lock().unwrap();
    let gap = log.asked.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let early = log.asked[5..].iter().take_while(|at| **at - log.asked[4] < 350 * MS).count();
    // Calls that were under way when it was said could not know.
    assert!(gap >= 350 * MS && early <= 3, "{gap:?}, {early} calls within the wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_told_by_headers_are_kept_before_anything_is_refused() {
    // Ten requests in every 300 ms.
    let window = Mutex::new((Instant::now(), 0));
    let server = serve(MS, move |_, _| {
        let (since, taken) = &mut *window.lock().unwrap();
        if since.elapsed() > 300 * MS {
            (*since, *taken) = (Instant::now(), 0);
        }
        if *taken == 10 {
            return busy(300 * MS);
        }
        *taken += 1;
        let body = r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}"#;
        let reset = format!("{}ms", (301 * MS).saturating_sub(since.elapsed()).as_millis());
        let headers = vec![
            ("x-ratelimit-remaining-requests", (10 - *taken).to_string()),
            ("x-ratelimit-reset-requests", reset),
        ];
        Act::Say(200, headers, body.to_owned())
    })
    .await;
    let (results, pool) = ask(pool_of(&[&server.base_url], 4, 600 * LATE), 40, 1).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(pool.status().unwrap().endpoints[0].faults, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn stated_limits_are_kept() {
    let server = serve(MS, |_, _| Act::Answer).await;
    let limits = Limits { requests_per_min: std::num::NonZeroU32::new(1200), ..limited(16) };
    let pool = Pool::new(vec![(client(&server.base_url), limits)], 600 * LATE).unwrap();
    let started = Instant::now();
    let (results, _) = ask(pool, 40, 1).await;
    assert_answered(&results);
    // 20 a second, 20 of them at once.
    let took = started.elapsed();
    assert!(took >= 950 * MS && took < 2500 * MS, "{took:?}");

    // 15 tokens a call by its usage, far fewer than is guessed at first: the guess gets better.
    let limits = Limits { tokens_per_min: std::num::NonZeroU32::new(60_000), ..limited(16) };
    let pool = Pool::new(vec![(client(&server.base_url), limits)], 600 * LATE).unwrap();
    let (results, pool) = ask(pool, 100, 1).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(pool.status().unwrap().endpoints[0].faults, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_is_left_alone_until_it_is_back() {
    let server = serve(MS, |n, _| if n <= 12 { status(500, "starting") } else { Act::Answer }).await;
    let (results, _) = ask(pool_of(&[&server.base_url], 4, 600 * LATE), 200, 8).await;
    assert_answered(&results);
    let log = server.log.lock().unwrap();
    assert_eq!((log.replies(), log.asked.len()), (200, 212));
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_ends() {
    let limited = serve(MS, |_, _| busy(Duration::from_secs(3600))).await;
    let started = Instant::now();
    let (results, pool) = ask(pool_of(&[&limited.base_url], 4, Duration::from_secs(2)), 50, 1).await;
    assert!(started.elapsed() < Duration::from_secs(2), "it was known at once that waiting is pointless");
    for result in results {
        let fault = result.unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "rate_limited"));
        assert!(
            fault.message.contains("rate limited by 127.0.0.1") && fault.hint.unwrap().contains("--patience")
        );
    }
    assert!(limited.log.lock().unwrap().asked.len() <= 4);
    assert_eq!(pool.status().unwrap().waiting, 0);

    // Refused again and again, for short whiles.
    let never = serve(MS, |_, _| busy(30 * MS)).await;
    let started = Instant::now();
    let (results, _) = ask(pool_of(&[&never.base_url], 4, LATE), 50, 1).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|fault| fault.cause == "rate_limited")));
    assert!((LATE..LATE + Duration::from_secs(2)).contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_calls_wait_the_status_says_for_what_and_draining_ends_it() {
    let server = serve(MS, |_, _| busy(Duration::from_secs(18))).await;
    let pool = Arc::new(pool_of(&[&server.base_url], 2, Duration::from_secs(600)));
    assert_eq!(pool.status().unwrap().waits_for(), None);
    let calls = (0..6).map(|n| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.ask(&request(n)).await })
    });
    let calls: Vec<_> = calls.collect();
    let started = Instant::now();
    let waits = loop {
        let status = pool.status().unwrap();
        if let Some(waits) = status.waits_for()
            && status.waiting == 6
        {
            break waits;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{status:?}");
        tokio::time::sleep(5 * MS).await;
    };
    let host = server.base_url.trim_start_matches("http://").trim_end_matches("/v1");
    assert!(waits.starts_with(&format!("rate limited by {host}, next try in 18 s (0 in flight")), "{waits}");
    assert!(waits.contains("rate_limited "), "{waits}");
    pool.drain();
    for call in calls {
        let fault = call.await.unwrap().unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "stopped"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_where_there_is_room() {
    let servers = [serve(10 * MS, |_, _| Act::Answer).await, serve(10 * MS, |_, _| Act::Answer).await];
    let endpoints = servers
        .iter()
        .zip([3.0, 1.0])
        .map(|(server, weight)| (client(&server.base_url), Limits { weight, ..limited(100) }));
    let pool = Pool::new(endpoints.collect(), 600 * LATE).unwrap();
    // Forty at a time, of which the pool could take five times as many.
    let (pool, next) = (Arc::new(pool), Arc::new(AtomicUsize::new(0)));
    let workers = (0..40).map(|_| {
        let (pool, next) = (pool.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= 800 {
                    return;
                }
                pool.ask(&request(n)).await.unwrap();
            }
        })
    });
    futures::future::join_all(workers).await;
    let shares = servers.map(|server| server.log.lock().unwrap().replies());
    assert_eq!(shares[0] + shares[1], 800);
    assert!((540..=660).contains(&shares[0]), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_too_long_only_when_every_endpoint_says_so() {
    let short =
        serve(MS, |_, _| status(400, r#"{"error": {"message": "m", "code": "context_length_exceeded"}}"#))
            .await;
    let long = serve(MS, |_, _| Act::Answer).await;
    let pool = pool_of(&[&short.base_url, &long.base_url], 4, LATE);
    assert_eq!(pool.ask(&request(1)).await.unwrap().output, "re: prompt 1");

    let pool = pool_of(&[&short.base_url, &short.base_url], 4, LATE);
    let refused = pool.ask(&request(1)).await.unwrap();
    assert_eq!(refused.finish_reason, "request_refused");
    assert!(refused.output.contains("400"), "{refused:?}");

    // The other one is down, and might have taken it.
    let (_socket, closed) = common::closed_port();
    let pool = pool_of(&[&short.base_url, &format!("http://{closed}/v1")], 4, LATE);
    let fault = pool.ask(&request(1)).await.unwrap_err();
    assert_eq!(fault.recovery, Recovery::Retry);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_endpoint_that_refuses_our_key_stops_the_run() {
    let refusing =
        [serve(MS, |_, _| status(401, "bad key")).await, serve(MS, |_, _| status(404, "no model")).await];
    let pool = pool_of(&[&refusing[0].base_url, &refusing[1].base_url], 4, LATE);
    let fault = pool.ask(&request(1)).await.unwrap_err();
    assert_eq!(fault.recovery, Recovery::Stop);
    // From then on nobody is asked.
    assert_eq!(pool.ask(&request(2)).await.unwrap_err().recovery, Recovery::Stop);
    assert!(refusing.iter().all(|server| server.log.lock().unwrap().asked.len() == 1));
}
