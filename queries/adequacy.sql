-- How well tests notice wrong solutions, by language: rows rejected as vacuous or weak, and the adequacy of those kept, in percent.
-- `unknown`: no mutant could be made or compiled.
WITH judged AS (
  SELECT language, 'kept' AS fate, 1.0 * adequacy AS adequacy FROM dataset
  UNION ALL
  SELECT language, reason AS fate, CAST(NULL AS DOUBLE) AS adequacy
  FROM rejected
  WHERE reason = 'vacuous_tests' OR reason = 'weak_tests'
)
SELECT
  language,
  SUM(CASE WHEN fate = 'vacuous_tests' THEN 1 ELSE 0 END) AS vacuous,
  SUM(CASE WHEN fate = 'weak_tests' THEN 1 ELSE 0 END) AS weak,
  SUM(CASE WHEN fate = 'kept' THEN 1 ELSE 0 END) AS kept,
  SUM(CASE WHEN fate = 'kept' AND adequacy IS NULL THEN 1 ELSE 0 END) AS unknown,
  SUM(CASE WHEN adequacy < 0.7 THEN 1 ELSE 0 END) AS below_70,
  SUM(CASE WHEN adequacy >= 0.7 AND adequacy < 0.9 THEN 1 ELSE 0 END) AS from_70,
  SUM(CASE WHEN adequacy >= 0.9 AND adequacy < 1 THEN 1 ELSE 0 END) AS from_90,
  SUM(CASE WHEN adequacy >= 1 THEN 1 ELSE 0 END) AS all_killed,
  ROUND(100 * AVG(adequacy), 1) AS mean,
  ROUND(100 * MIN(adequacy), 1) AS lowest
FROM judged
GROUP BY language
ORDER BY language
