-- The most widespread events before `end`.
SELECT event, uniq(person) AS persons, count() AS times
FROM resolved_events
WHERE timestamp < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC') AND event != ''
GROUP BY event
ORDER BY persons DESC, event
LIMIT {most:UInt32}
