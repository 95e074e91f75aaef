-- What the replies of a run cost, by stage and language, in USD; empty where a price is not known. Reused ones cost nothing.
WITH charged AS (
  SELECT
    replies.stage AS stage,
    replies.language AS language,
    1.0 * prompt_tokens AS prompt,
    1.0 * CASE WHEN cached_tokens < prompt_tokens THEN cached_tokens ELSE prompt_tokens END AS cached,
    1.0 * completion_tokens AS completion,
    input_usd,
    cached_input_usd,
    output_usd
  FROM replies LEFT JOIN prices ON replies.stage = prices.stage
  WHERE NOT reused
),
priced AS (
  SELECT
    *,
    ((prompt - cached) * input_usd + cached * cached_input_usd + completion * output_usd) / 1000000.0 AS usd
  FROM charged
),
sums AS (
  SELECT
    0 AS is_total, stage, language, COUNT(*) AS replies,
    SUM(prompt) AS prompt, SUM(cached) AS cached, SUM(completion) AS completion,
    SUM(usd) AS usd, COUNT(usd) AS priced
  FROM priced
  GROUP BY stage, language
  UNION ALL
  SELECT
    1 AS is_total, 'all' AS stage, language, COUNT(*) AS replies,
    SUM(prompt) AS prompt, SUM(cached) AS cached, SUM(completion) AS completion,
    SUM(usd) AS usd, COUNT(usd) AS priced
  FROM priced
  GROUP BY language
  UNION ALL
  SELECT
    2 AS is_total, stage, 'all' AS language, COUNT(*) AS replies,
    SUM(prompt) AS prompt, SUM(cached) AS cached, SUM(completion) AS completion,
    SUM(usd) AS usd, COUNT(usd) AS priced
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
