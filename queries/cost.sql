-- What the replies of a run cost, by stage and language, in USD; empty where a price is not known. Reused ones cost nothing.
WITH charged AS (
  SELECT
    stage AS of_stage,
    language,
    COUNT(*) AS replies,
    SUM(1.0 * prompt_tokens) AS prompt,
    SUM(1.0 * CASE WHEN cached_tokens < prompt_tokens THEN cached_tokens ELSE prompt_tokens END) AS cached,
    SUM(1.0 * completion_tokens) AS completion
  FROM replies
  WHERE NOT reused
  GROUP BY stage, language
),
priced AS (
  SELECT
    of_stage AS stage,
    language,
    replies,
    prompt,
    cached,
    completion,
    ((prompt - cached) * input_usd + cached * cached_input_usd + completion * output_usd) / 1000000.0 AS usd
  FROM charged LEFT JOIN prices ON of_stage = prices.stage
),
sums AS (
  SELECT
    0 AS is_total, stage, language, SUM(replies) AS replies,
    SUM(prompt) AS prompt, SUM(cached) AS cached, SUM(completion) AS completion,
    SUM(usd) AS usd, SUM(CASE WHEN usd IS NULL THEN 0 ELSE replies END) AS priced
  FROM priced
  GROUP BY stage, language
  UNION ALL
  SELECT
    1 AS is_total, 'all' AS stage, language, SUM(replies) AS replies,
    SUM(prompt) AS prompt, SUM(cached) AS cached, SUM(completion) AS completion,
    SUM(usd) AS usd, SUM(CASE WHEN usd IS NULL THEN 0 ELSE replies END) AS priced
  FROM priced
  GROUP BY language
  UNION ALL
  SELECT
    2 AS is_total, stage, 'all' AS language, SUM(replies) AS replies,
    SUM(prompt) AS prompt, SUM(cached) AS cached, SUM(completion) AS completion,
    SUM(usd) AS usd, SUM(CASE WHEN usd IS NULL THEN 0 ELSE replies END) AS priced
  FROM priced
  GROUP BY stage
)
SELECT
  stage,
  language,
  replies,
  CAST(prompt AS BIGINT) AS prompt_tokens,
  CAST(cached AS BIGINT) AS cached_tokens,
  CAST(completion AS BIGINT) AS completion_tokens,
  CASE WHEN priced = replies THEN ROUND(usd, 6) END AS usd
FROM sums
ORDER BY is_total, stage, language
