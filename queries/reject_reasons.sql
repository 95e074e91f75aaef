-- Why rows left, by stage and reason, with the share of all rejected rows in percent and one example.
WITH reasons AS (
  SELECT stage, reason, COUNT(*) AS rows, MIN(detail) AS example
  FROM rejected
  GROUP BY stage, reason
),
total AS (SELECT COUNT(*) AS all_rows FROM rejected)
SELECT stage, reason, rows, ROUND(100.0 * rows / all_rows, 1) AS share, example
FROM reasons CROSS JOIN total
ORDER BY rows DESC, stage, reason
