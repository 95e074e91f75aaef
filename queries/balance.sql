-- Rows of the dataset by language and category (a pipeline with a `category` column), and the share of the language they are.
WITH
  counted AS (
    SELECT language, category, COUNT(*) AS rows FROM dataset GROUP BY language, category
  ),
  languages AS (
    SELECT language, COUNT(*) AS all_rows FROM dataset GROUP BY language
  )
SELECT counted.language, category, rows, ROUND(100.0 * rows / all_rows, 1) AS percent
FROM counted
JOIN languages ON counted.language = languages.language
ORDER BY counted.language, rows DESC, category
