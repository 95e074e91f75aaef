-- How long model replies and program runs (without compiling) took, by stage, in ms.
SELECT
  'reply' AS call,
  stage,
  COUNT(*) AS calls,
  ROUND(QUANTILE_CONT(latency_ms, 0.5), 1) AS p50_ms,
  ROUND(QUANTILE_CONT(latency_ms, 0.9), 1) AS p90_ms,
  ROUND(QUANTILE_CONT(latency_ms, 0.99), 1) AS p99_ms,
  MAX(latency_ms) AS max_ms
FROM replies
GROUP BY stage
UNION ALL
SELECT
  'run' AS call,
  stage,
  COUNT(*) AS calls,
  ROUND(QUANTILE_CONT(wall_ms, 0.5), 1) AS p50_ms,
  ROUND(QUANTILE_CONT(wall_ms, 0.9), 1) AS p90_ms,
  ROUND(QUANTILE_CONT(wall_ms, 0.99), 1) AS p99_ms,
  MAX(wall_ms) AS max_ms
FROM verdicts
GROUP BY stage
ORDER BY call, stage
