-- p0 = 'price'
-- p1 = 1767225600000
-- p2 = 1769904000000
-- p3 = ['buy', 'cart', 'view']
-- p4 = 'cart'
-- p5 = 'view'
-- p6 = 'buy'
-- p7 = 'total'
-- p8 = 5.0
SELECT grouping(v) AS total, v, uniqExact(v) AS n_values, count() AS n, countIf(a.1 != 0) AS n1, countIf(a.2 != 0) AS n2, quantilesExactInclusiveIf(0.5, 0.9)((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS start2, avgIf((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS start_mean2, sumMapIf([toUInt32(roundDown((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, [0, 1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 2592000]))], [toUInt64(1)], a.2 != 0) AS start_histogram2, quantilesExactInclusiveIf(0.5, 0.9)((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS step2, avgIf((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS step_mean2, sumMapIf([toUInt32(roundDown((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, [0, 1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 2592000]))], [toUInt64(1)], a.2 != 0) AS step_histogram2
FROM (SELECT u.*, [u.carried[1]] AS v
FROM (SELECT *, arraySort(arrayFilter(p -> p.1 = a.1, vs))[1].2 AS carried
FROM (SELECT *, attempts[indexOf(depths, arrayMax(depths))] AS a
FROM (SELECT *, arrayMap(a -> (a.1 != 0) + (a.2 != 0), attempts) AS depths
FROM (SELECT *
FROM (SELECT * REPLACE (arrayFilter(a -> NOT ((a.1 != 0 AND a.3 != 0 AND a.3 < if(a.2 != 0, a.2, toUInt64(18446744073709551615)))), attempts) AS attempts)
FROM (SELECT *
FROM (SELECT *, arrayMap(c -> tuple(c.1, c.2, c.3), chains) AS attempts
FROM (SELECT *, arrayFilter((r, x) -> bitTest(x, 1), r0, e) AS chains
FROM (SELECT *, c0 AS r0
FROM (SELECT *, arrayMap((x, r, n0) -> tupleConcat(tuple(x), r, tuple(n0)), e, arrayPushBack(arrayPopFront(r1), tuple(toUInt64(0))), arrayPushBack(arrayPopFront(n0), 0)) AS c0
FROM (SELECT *, arrayReverseFill((c, x) -> x = 0 OR bitTest(x, 2), c1, e) AS r1
FROM (SELECT *, arrayMap((x) -> tuple(x), e) AS c1
FROM (SELECT *, arrayReverseFill(x -> x = 0 OR bitTest(x, 0), e) AS n0
FROM (SELECT unit, arrayPushBack(arraySort(groupArray(x)), 0) AS e, groupArrayIf((x, v0), bitAnd(x, 2) != 0) AS vs
FROM (SELECT *
FROM (SELECT person_id AS unit, bitShiftLeft(toUInt64(toUnixTimestamp64Milli(timestamp)), 3) + ((event = {p4:String}) * 1 + (event = {p5:String}) * 2 + ((event = {p6:String} AND (mapContains(properties, {p7:String}) AND ifNull(toFloat64OrNull(properties[{p7:String}]) > {p8:Float64}, 0)))) * 4) AS x, [properties[{p0:String}]] AS v0 FROM resolved_events WHERE timestamp >= fromUnixTimestamp64Milli({p1:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Milli({p2:Int64}, 'UTC') AND event IN {p3:Array(String)}) WHERE bitAnd(x, 7) != 0) GROUP BY unit)))))))) WHERE notEmpty(attempts))) WHERE notEmpty(attempts))))) AS u) GROUP BY GROUPING SETS ((), (v)) ORDER BY total DESC, n DESC, v LIMIT 101
