-- Rows rejected as flaky, by stage and language: how many, their share of the rows that came in, in percent, and what differed in one.
WITH flaky AS (
  SELECT stage AS in_stage, language AS in_language, COUNT(*) AS flaky, MIN(detail) AS example
  FROM rejected
  WHERE reason = 'flaky'
  GROUP BY stage, language
)
SELECT stage, language, rows_in, flaky, ROUND(100.0 * flaky / rows_in, 1) AS share, example
FROM stages JOIN flaky ON stage = in_stage AND language = in_language
ORDER BY position, language
