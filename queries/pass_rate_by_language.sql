-- Share of each language's seeds that became problems, in percent, with its Wilson 95 % interval.
-- Rows that stages made of a seed besides it (samples) count like seeds, and translations instead of what they were made of.
WITH bounds_of AS (
  SELECT
    MIN(position) AS start,
    MAX(CASE WHEN op = 'translate_to' THEN position + 1 ELSE 0 END) AS translated,
    MAX(position) AS last
  FROM stages
),
ends AS (SELECT CASE WHEN translated > start THEN translated ELSE start END AS first, last FROM bounds_of),
languages AS (
  SELECT
    language,
    0 AS is_total,
    SUM(CASE WHEN position = first THEN rows_in ELSE 0 END) AS seeds,
    SUM(CASE WHEN position = last THEN kept ELSE 0 END) AS problems,
    SUM(CASE WHEN position >= first THEN spawned ELSE 0 END) AS spawned,
    SUM(CASE WHEN position >= first THEN pending ELSE 0 END) AS pending
  FROM stages CROSS JOIN ends
  GROUP BY language
),
arrived AS (SELECT * FROM languages WHERE seeds + spawned > 0),
counts AS (
  SELECT language, is_total, seeds, problems, spawned, pending FROM arrived
  UNION ALL
  SELECT 'all' AS language, 1 AS is_total, SUM(seeds) AS seeds, SUM(problems) AS problems,
    SUM(spawned) AS spawned, SUM(pending) AS pending
  FROM arrived
),
shares AS (SELECT *, 1.0 * problems / (seeds + spawned) AS p, 1.9599639845 AS z, 1.0 * (seeds + spawned) AS n FROM counts),
bounds AS (
  SELECT
    *,
    (p + z * z / (2 * n)) / (1 + z * z / n) AS centre,
    z * SQRT(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n) AS half
  FROM shares
)
SELECT
  language,
  seeds,
  problems,
  pending,
  ROUND(100 * p, 1) AS pass_rate,
  ROUND(100 * (centre - half), 1) AS low,
  ROUND(100 * (centre + half), 1) AS high
FROM bounds
ORDER BY is_total, language
