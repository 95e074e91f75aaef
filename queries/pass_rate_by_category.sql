-- Problems of each category and language: how many of each difficulty, and what share of the weaker model's answers pass, in percent.
-- optional: dataset.category text, dataset.difficulty text, dataset.pass_rate number
WITH tagged AS (
  SELECT category, language, difficulty, 1.0 * pass_rate AS pass_rate, 0 AS is_total FROM dataset WHERE category IS NOT NULL
),
counted AS (
  SELECT category, language, difficulty, pass_rate, is_total FROM tagged
  UNION ALL
  SELECT category, 'all' AS language, difficulty, pass_rate, 1 AS is_total FROM tagged
)
SELECT
  category,
  language,
  COUNT(*) AS problems,
  SUM(CASE WHEN difficulty = 'hard' THEN 1 ELSE 0 END) AS hard,
  SUM(CASE WHEN difficulty = 'medium' THEN 1 ELSE 0 END) AS medium,
  SUM(CASE WHEN difficulty = 'easy' THEN 1 ELSE 0 END) AS easy,
  ROUND(100 * AVG(pass_rate), 1) AS pass_rate
FROM counted
GROUP BY category, language, is_total
ORDER BY category, is_total, language
