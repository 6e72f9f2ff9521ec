-- Persons who acted under several ids before `cutoff` although nothing before it said that these
-- ids are one person: that was learnt later, and their features know it too early.
SELECT count() AS persons
FROM (
    SELECT person
    FROM resolved_events
    WHERE timestamp < fromUnixTimestamp64Milli({cutoff_ms:Int64}, 'UTC')
    GROUP BY person
    HAVING uniqExactIf(if(user_id != '', user_id, anonymous_id), kind IN ('track', 'page', 'screen')) > 1
        AND countIf(kind = 'alias' OR (kind = 'identify' AND user_id != '' AND anonymous_id != '')) = 0
        AND maxIf(
            timestamp, kind IN ('track', 'page', 'screen')
        ) >= fromUnixTimestamp64Milli({active_ms:Int64}, 'UTC')
)
