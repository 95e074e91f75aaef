-- What rows were rejected for repeating others: the row that stayed, how many repeat it and how closely, the 100 most repeated.
SELECT
  language,
  REPLACE(SPLIT_PART(detail, ': ', 1), 'repeats ', '') AS repeated,
  COUNT(*) AS rows,
  MIN(CAST(SPLIT_PART(SPLIT_PART(detail, ' is ', 2), ' ', 1) AS DOUBLE)) AS least_similar,
  MAX(CAST(SPLIT_PART(SPLIT_PART(detail, ' is ', 2), ' ', 1) AS DOUBLE)) AS most_similar,
  MIN(id) AS example
FROM rejected
WHERE reason = 'duplicate' AND detail LIKE 'repeats %'
GROUP BY language, repeated
ORDER BY rows DESC, language, repeated
LIMIT 100
