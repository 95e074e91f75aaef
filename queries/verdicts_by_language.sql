-- How programs ended, by language, stage and outcome; the share is of the runs of the language at the stage, in percent.
WITH outcomes AS (
  SELECT language, stage, outcome, COUNT(*) AS runs FROM verdicts GROUP BY language, stage, outcome
),
totals AS (
  SELECT language AS of_language, stage AS of_stage, COUNT(*) AS all_runs FROM verdicts GROUP BY language, stage
)
SELECT language, stage, outcome, runs, ROUND(100.0 * runs / all_runs, 1) AS share
FROM outcomes JOIN totals ON language = of_language AND stage = of_stage
ORDER BY language, stage, runs DESC, outcome
