-- p0 = 'buy'
-- p1 = 1767225600000
-- p2 = 1769904000000
-- p3 = 'total'
SELECT toUInt8(0) AS series, toInt32(p) AS p, grouping(p) AS total, v, toUInt8(other) AS other, toNullable(toFloat64(sum(x))) AS value, toUInt64(countIf(isNotNull(x))) AS n, toNullable(toFloat64(if(n > 1, stddevSampIf(x, isNotNull(x)) / sqrt(n), NULL))) AS error
FROM (SELECT *, 0 AS other
FROM (SELECT u.*, emptyArrayString() AS v
FROM (SELECT person_id, (toInt32(intDiv(toUnixTimestamp64Milli(timestamp), 86400000)) - 20454) AS p, toFloat64OrNull(properties[{p3:String}]) AS x, emptyArrayString() AS carried FROM resolved_events WHERE event = {p0:String} AND timestamp >= fromUnixTimestamp64Milli({p1:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Milli({p2:Int64}, 'UTC')) AS u)) GROUP BY GROUPING SETS ((p, v, other), (v, other))
