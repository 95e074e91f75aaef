-- Tokens of all replies in the journal, by stage, as the endpoint counted them: what was paid for, repeats included.
SELECT
  stage,
  COUNT(*) AS replies,
  SUM(prompt_tokens) AS prompt_tokens,
  SUM(cached_tokens) AS cached_tokens,
  SUM(completion_tokens) AS completion_tokens,
  ROUND(AVG(completion_tokens), 1) AS completion_mean,
  MAX(completion_tokens) AS completion_max,
  SUM(CASE WHEN finish_reason = 'length' THEN 1 ELSE 0 END) AS cut_by_limit
FROM replies
GROUP BY stage
ORDER BY stage
