-- p0 = 'view'
-- p1 = 1769904000000
SELECT toInt32(mark.1) AS p, mark.2 AS state, count() AS n
FROM (SELECT arrayJoin(arrayConcat(arrayMap(b -> (b, 0), bitPositionsToArray(new)), arrayMap(b -> (b, 1), bitPositionsToArray(bitAnd(bits, ago))), arrayMap(b -> (b, 2), bitPositionsToArray(bitAnd(bits, bitNot(bitOr(ago, new))))), arrayMap(b -> (b, 3), bitPositionsToArray(bitAnd(ago, bitNot(bits)))))) AS mark
FROM (SELECT bits, bitAnd(toUInt64('31'), bitOr(bitShiftLeft(bits, 1), if(just, toUInt64('1'), toUInt64('0')))) AS ago, if(earlier OR bits = 0, toUInt64('0'), bitShiftLeft(toUInt64('1'), bitPositionsToArray(bits)[1])) AS new
FROM (SELECT person_id, groupBitOrIf(bitShiftLeft(toUInt64(1), toUInt8(greatest(p, 0))), p >= 0) AS bits, max(p < 0) AS earlier, max(p = -1) AS just
FROM (SELECT person_id, (intDiv(toInt32(intDiv(toUnixTimestamp64Milli(timestamp), 86400000)) + 3, 7) - 2922) AS p FROM resolved_events WHERE event = {p0:String} AND timestamp < fromUnixTimestamp64Milli({p1:Int64}, 'UTC')) GROUP BY person_id))) GROUP BY p, state ORDER BY p, state
