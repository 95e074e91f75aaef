-- How hard problems are for the model that rates them, by language: shares of difficulties and its pass rates, in percent.
-- Rows that left later count, those that were too easy among them. A language with far lower rates than the others may be
-- one that the model is weak in.
WITH rated AS (
  SELECT language, difficulty, pass_rate FROM dataset
  UNION ALL
  SELECT
    language,
    SPLIT_PART(SPLIT_PART(record, '"difficulty":"', 2), '"', 1) AS difficulty,
    CAST(SPLIT_PART(SPLIT_PART(record, '"pass_rate":', 2), ',', 1) AS DOUBLE) AS pass_rate
  FROM rejected
  WHERE STRPOS(record, '"difficulty":"') > 0 AND STRPOS(record, '"pass_rate":') > 0
),
grouped AS (
  SELECT language, 0 AS is_total, difficulty, pass_rate FROM rated
  UNION ALL
  SELECT 'all' AS language, 1 AS is_total, difficulty, pass_rate FROM rated
)
SELECT
  language,
  COUNT(*) AS problems,
  ROUND(100.0 * SUM(CASE WHEN difficulty = 'hard' THEN 1 ELSE 0 END) / COUNT(*), 1) AS hard,
  ROUND(100.0 * SUM(CASE WHEN difficulty = 'medium' THEN 1 ELSE 0 END) / COUNT(*), 1) AS medium,
  ROUND(100.0 * SUM(CASE WHEN difficulty = 'easy' THEN 1 ELSE 0 END) / COUNT(*), 1) AS easy,
  ROUND(100.0 * SUM(CASE WHEN difficulty = 'too_easy' THEN 1 ELSE 0 END) / COUNT(*), 1) AS too_easy,
  ROUND(100.0 * AVG(pass_rate), 1) AS mean_rate,
  ROUND(100.0 * QUANTILE_CONT(pass_rate, 0.25), 1) AS quarter,
  ROUND(100.0 * MEDIAN(pass_rate), 1) AS median,
  ROUND(100.0 * QUANTILE_CONT(pass_rate, 0.75), 1) AS three_quarters
FROM grouped
GROUP BY is_total, language
ORDER BY is_total, language
