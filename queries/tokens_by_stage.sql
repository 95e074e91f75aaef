-- Tokens of all replies in the journal, by stage, as the endpoint counted them. Reused ones were paid for by another run.
SELECT
  stage,
  COUNT(*) AS replies,
  SUM(CASE WHEN reused THEN 1 ELSE 0 END) AS reused,
  SUM(prompt_tokens) AS prompt_tokens,
  SUM(cached_tokens) AS cached_tokens,
  SUM(completion_tokens) AS completion_tokens,
  ROUND(AVG(completion_tokens), 1) AS completion_mean,
  MAX(completion_tokens) AS completion_max,
  SUM(CASE WHEN finish_reason = 'length' THEN 1 ELSE 0 END) AS cut_by_limit
FROM replies
GROUP BY stage
ORDER BY stage
