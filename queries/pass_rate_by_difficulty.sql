-- How many problems each difficulty has, and what share of the weaker model's answers pass, in percent; those that every answer passed were dropped as too easy.
-- optional: dataset.difficulty text, dataset.pass_rate number
WITH rated AS (
  SELECT difficulty, 1.0 * pass_rate AS pass_rate FROM dataset WHERE difficulty IS NOT NULL
  UNION ALL
  SELECT 'too_easy' AS difficulty, 1.0 AS pass_rate FROM rejected WHERE reason = 'too_easy'
),
total AS (SELECT COUNT(*) AS all_problems FROM rated)
SELECT
  difficulty,
  COUNT(*) AS problems,
  ROUND(100.0 * COUNT(*) / MAX(all_problems), 1) AS share,
  ROUND(100 * AVG(pass_rate), 1) AS pass_rate,
  ROUND(100 * MIN(pass_rate), 1) AS lowest,
  ROUND(100 * MAX(pass_rate), 1) AS highest
FROM rated CROSS JOIN total
GROUP BY difficulty
ORDER BY pass_rate, difficulty
