-- Up to three rejected rows of each stage and reason, with what was wrong and what the row had so far.
WITH numbered AS (
  SELECT
    stage, reason, id, language, source, detail, record,
    ROW_NUMBER() OVER (PARTITION BY stage, reason ORDER BY id, source) AS example,
    COUNT(*) OVER (PARTITION BY stage, reason) AS rows
  FROM rejected
)
SELECT stage, reason, rows, example, id, language, detail, source, record
FROM numbered
WHERE example <= 3
ORDER BY rows DESC, stage, reason, example
