-- From when to when there are events; a client's clock that runs ahead of `now` does not count.
SELECT
    count() AS events,
    toUnixTimestamp64Milli(min(timestamp)) AS first_ms,
    toUnixTimestamp64Milli(max(timestamp)) AS last_ms
FROM resolved_events
WHERE timestamp < fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
