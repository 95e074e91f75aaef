-- Models side by side at each stage: replies, how they ended, tokens, latency in ms, and the share of the seeds they answered for that became problems, in percent.
WITH problems AS (SELECT DISTINCT SUBSTR(id, 1, 32) AS seed, 1 AS solved FROM dataset),
answers AS (
  SELECT
    replies.stage AS stage, model, SUBSTR(id, 1, 32) AS seed, finish_reason, prompt_tokens, completion_tokens, latency_ms
  FROM replies
),
seeds AS (
  SELECT DISTINCT stage AS seed_stage, model AS seed_model, answers.seed AS seed, COALESCE(solved, 0) AS solved
  FROM answers LEFT JOIN problems ON answers.seed = problems.seed
),
rates AS (
  SELECT seed_stage, seed_model, COUNT(*) AS seeds, SUM(solved) AS problems FROM seeds GROUP BY seed_stage, seed_model
),
figures AS (
  SELECT
    stage,
    model,
    COUNT(*) AS replies,
    SUM(CASE WHEN finish_reason = 'stop' OR finish_reason = 'end_turn' THEN 1 ELSE 0 END) AS finished,
    SUM(CASE WHEN finish_reason = 'length' THEN 1 ELSE 0 END) AS cut,
    AVG(prompt_tokens) AS prompt_mean,
    AVG(completion_tokens) AS completion_mean,
    QUANTILE_CONT(latency_ms, 0.5) AS p50,
    QUANTILE_CONT(latency_ms, 0.9) AS p90
  FROM answers
  GROUP BY stage, model
)
SELECT
  stage,
  model,
  replies,
  ROUND(100.0 * finished / replies, 1) AS finished_percent,
  cut AS cut_by_limit,
  ROUND(prompt_mean, 1) AS prompt_mean,
  ROUND(completion_mean, 1) AS completion_mean,
  ROUND(p50, 1) AS p50_ms,
  ROUND(p90, 1) AS p90_ms,
  seeds,
  ROUND(100.0 * problems / seeds, 1) AS problem_rate
FROM figures JOIN rates ON stage = seed_stage AND model = seed_model
ORDER BY stage, model
