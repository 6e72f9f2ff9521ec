-- p0 = 'view'
-- p1 = 1767225600000
-- p2 = 1769904000000
SELECT bitCount(bits) AS periods, count() AS n
FROM (SELECT person_id, groupBitOr(bitShiftLeft(toUInt64(1), toUInt8(p))) AS bits
FROM (SELECT person_id, (toInt32(intDiv(toUnixTimestamp64Milli(timestamp), 86400000)) - 20454) AS p FROM resolved_events WHERE event = {p0:String} AND timestamp >= fromUnixTimestamp64Milli({p1:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Milli({p2:Int64}, 'UTC')) GROUP BY person_id) GROUP BY periods ORDER BY periods
