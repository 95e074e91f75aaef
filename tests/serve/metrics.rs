//! What `/metrics` counts.

use serde_json::json;

use super::Server;

#[tokio::test]
async fn metrics_count_what_happened() {
    let Some(server) = Server::start("metrics", &["--jobs", "1"]) else { return };
    for _ in 0..3 {
        server.submit("shell", "echo 1234").await;
    }
    server.submit("bash", "exit 1").await;
    server.submit("cobol", "DISPLAY 1").await;
    server.ask("/batch", json!({ "language": "shell", "source": ":", "tests": ["true", "false"] })).await;
    server.client.get(server.url("/nowhere")).send().await.unwrap();
    let page = server.client.get(server.url("/metrics")).send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let page = page.text().await.unwrap();
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(!page.contains("cobol"), "a client's text is a label");
    for (metric, value) in [
        ("jobs_total{language=\"shell\",outcome=\"PASSED\"}", 4.0),
        ("jobs_total{language=\"shell\",outcome=\"RUNTIME_ERROR\"}", 2.0),
        ("requests_total{endpoint=\"/submit\",status=\"200\"}", 5.0),
        ("requests_total{endpoint=\"/batch\",status=\"200\"}", 1.0),
        ("requests_total{endpoint=\"other\",status=\"404\"}", 1.0),
        ("rejected_total{cause=\"argument_error\"}", 1.0),
        ("job_seconds_count{language=\"shell\"}", 6.0),
        ("wait_seconds_count", 6.0),
        ("output_bytes_total", 15.0),
        ("jobs_cancelled_total", 0.0),
        ("seats", 1.0),
        ("running", 0.0),
        ("waiting", 0.0),
        ("admitted", 0.0),
    ] {
        let metric = format!("autocodegen_sandbox_{metric}");
        assert!(page.contains(&metric), "{metric} is not in {page}");
        assert_eq!(server.metric(&metric).await, value, "{metric}");
    }
    assert!(server.metric("autocodegen_sandbox_request_bytes_total").await > 100.0);
    assert!(page.contains("autocodegen_sandbox_service_info{version=\""), "{page}");
}
