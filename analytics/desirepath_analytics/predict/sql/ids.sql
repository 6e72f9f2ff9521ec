-- The ids of the persons that scores are about.
SELECT person, any(person_id) AS person_id
FROM resolved_events
WHERE timestamp < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
GROUP BY person
