-- What the properties of some events, the traits and the context hold before `end`; every
-- `stride`th person is looked at. `levels` counts different values up to 41.
SELECT
    place,
    event,
    key,
    uniq(person) AS persons,
    count() AS times,
    countIf(isFinite(toFloat64OrNull(value))) AS numeric,
    uniqUpTo(41)(value) AS levels
FROM (
    SELECT
        if(kind = 'identify', 'trait', 'property') AS place,
        if(kind = 'identify', '', toString(event)) AS event,
        person,
        toString(key) AS key,
        value
    FROM resolved_events
    ARRAY JOIN mapKeys(properties) AS key, mapValues(properties) AS value
    WHERE timestamp < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
        AND (kind = 'identify' OR event IN {events:Array(String)})
        AND person % {stride:UInt32} = 0
    UNION ALL
    SELECT 'context' AS place, '' AS event, person, toString(key) AS key, value
    FROM resolved_events
    ARRAY JOIN mapKeys(context) AS key, mapValues(context) AS value
    WHERE timestamp < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
        AND person % {stride:UInt32} = 0
    UNION ALL
    SELECT 'context' AS place, '' AS event, person, 'source' AS key, toString(source) AS value
    FROM resolved_events
    WHERE timestamp < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
        AND person % {stride:UInt32} = 0
)
WHERE value != ''
GROUP BY place, event, key
ORDER BY persons DESC, place, event, key
