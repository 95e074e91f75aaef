-- Rows in, kept, rejected and pending at every stage, all languages together; time is summed over calls.
SELECT
  stage,
  op,
  SUM(rows_in) AS rows_in,
  SUM(spawned) AS spawned,
  SUM(kept) AS kept,
  SUM(rejected) AS rejected,
  SUM(pending) AS pending,
  ROUND(100.0 * SUM(kept) / (SUM(rows_in) + SUM(spawned)), 1) AS kept_percent,
  ROUND(SUM(busy_ms) / 1000.0, 1) AS busy_s
FROM stages
GROUP BY position, stage, op
ORDER BY position
