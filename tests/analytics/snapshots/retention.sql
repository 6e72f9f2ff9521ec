-- p0 = ['buy', 'view']
-- p1 = 1769904000000
-- p2 = 1767225600000
-- p3 = 'view'
-- p4 = 'buy'
SELECT toInt32(c) AS c, v, count() AS n, sumForEach(cells) AS cells
FROM (SELECT u.*, emptyArrayString() AS v
FROM (SELECT person_id, c, carried, [toUInt64(bitAnd(came, toUInt64('1')) != 0), toUInt64(bitAnd(came, toUInt64('2')) != 0), toUInt64(bitAnd(came, toUInt64('4')) != 0), toUInt64(bitAnd(came, toUInt64('8')) != 0), toUInt64(bitAnd(came, toUInt64('16')) != 0), toUInt64(bitAnd(came, toUInt64('0')) != 0), toUInt64(bitAnd(came, toUInt64('0')) != 0), toUInt64(bitAnd(came, toUInt64('0')) != 0)] AS cells
FROM (SELECT *, bitShiftRight(back, c) AS came
FROM (SELECT *, bitPositionsToArray(began)[1] AS c
FROM (SELECT person_id, groupBitOrIf(bitShiftLeft(toUInt64(1), toUInt8(greatest(p, 0))), starts AND inside) AS began, countIf(starts AND NOT inside) AS before, argMinIf(vals, (timestamp, vals), starts AND inside) AS carried, groupBitOrIf(bitShiftLeft(toUInt64(1), toUInt8(greatest(p, 0))), returns AND inside) AS back
FROM (SELECT person_id, (intDiv(toInt32(intDiv(toUnixTimestamp64Milli(timestamp), 86400000)) + 3, 7) - 2922) AS p, (timestamp >= fromUnixTimestamp64Milli({p2:Int64}, 'UTC')) AS inside, event = {p3:String} AS starts, event = {p4:String} AS returns, emptyArrayString() AS vals, timestamp FROM resolved_events WHERE event IN {p0:Array(String)} AND timestamp < fromUnixTimestamp64Milli({p1:Int64}, 'UTC')) GROUP BY person_id) WHERE began != 0 AND before = 0))) AS u) GROUP BY c, v ORDER BY c, v
