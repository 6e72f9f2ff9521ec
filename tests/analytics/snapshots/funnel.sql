-- p0 = 1767225600000
-- p1 = 1769904000000
-- p2 = ['buy', 'cart', 'view']
-- p3 = 'view'
-- p4 = 'cart'
-- p5 = 'buy'
-- p6 = 'country'
SELECT grouping(v) AS total, v, uniqExact(v) AS n_values, count() AS n, countIf(a.1 != 0) AS n1, countIf(a.2 != 0) AS n2, quantilesExactInclusiveIf(0.5, 0.9)((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS start2, avgIf((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS start_mean2, sumMapIf([toUInt32(roundDown((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, [0, 1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 2592000]))], [toUInt64(1)], a.2 != 0) AS start_histogram2, quantilesExactInclusiveIf(0.5, 0.9)((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS step2, avgIf((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, a.2 != 0) AS step_mean2, sumMapIf([toUInt32(roundDown((bitShiftRight(a.2, 3) - bitShiftRight(a.1, 3)) / 1000, [0, 1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 2592000]))], [toUInt64(1)], a.2 != 0) AS step_histogram2, countIf(a.3 != 0) AS n3, quantilesExactInclusiveIf(0.5, 0.9)((bitShiftRight(a.3, 3) - bitShiftRight(a.1, 3)) / 1000, a.3 != 0) AS start3, avgIf((bitShiftRight(a.3, 3) - bitShiftRight(a.1, 3)) / 1000, a.3 != 0) AS start_mean3, sumMapIf([toUInt32(roundDown((bitShiftRight(a.3, 3) - bitShiftRight(a.1, 3)) / 1000, [0, 1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 2592000]))], [toUInt64(1)], a.3 != 0) AS start_histogram3, quantilesExactInclusiveIf(0.5, 0.9)((bitShiftRight(a.3, 3) - bitShiftRight(greatest(a.1, a.2), 3)) / 1000, a.3 != 0) AS step3, avgIf((bitShiftRight(a.3, 3) - bitShiftRight(greatest(a.1, a.2), 3)) / 1000, a.3 != 0) AS step_mean3, sumMapIf([toUInt32(roundDown((bitShiftRight(a.3, 3) - bitShiftRight(greatest(a.1, a.2), 3)) / 1000, [0, 1, 10, 60, 300, 900, 3600, 21600, 86400, 259200, 604800, 2592000]))], [toUInt64(1)], a.3 != 0) AS step_histogram3
FROM (SELECT u.*, [j0.value] AS v
FROM (SELECT *, attempts[indexOf(depths, arrayMax(depths))] AS a
FROM (SELECT *, arrayMap(a -> (a.1 != 0) + (a.2 != 0) + (a.3 != 0), attempts) AS depths
FROM (SELECT *
FROM (SELECT *, arrayMap(c -> tuple(c.1, if(c.2 < bitShiftLeft(bitShiftRight(c.1, 3) + 604800001, 3), c.2, 0), if(c.3 < bitShiftLeft(bitShiftRight(c.1, 3) + 604800001, 3), c.3, 0)), chains) AS attempts
FROM (SELECT *, arrayFilter((r, x) -> bitTest(x, 0), r0, e) AS chains
FROM (SELECT *, c0 AS r0
FROM (SELECT *, arrayMap((x, r) -> tupleConcat(tuple(x), r), e, arrayPushBack(arrayPopFront(r1), tuple(toUInt64(0), toUInt64(0)))) AS c0
FROM (SELECT *, arrayReverseFill((c, x) -> x = 0 OR bitTest(x, 1), c1, e) AS r1
FROM (SELECT *, arrayMap((x, r) -> tupleConcat(tuple(x), r), e, arrayPushBack(arrayPopFront(r2), tuple(toUInt64(0)))) AS c1
FROM (SELECT *, arrayReverseFill((c, x) -> x = 0 OR bitTest(x, 2), c2, e) AS r2
FROM (SELECT *, arrayMap((x) -> tuple(x), e) AS c2
FROM (SELECT unit, arrayPushBack(arraySort(groupArray(x)), 0) AS e
FROM (SELECT person_id AS unit, bitShiftLeft(toUInt64(toUnixTimestamp64Milli(timestamp)), 3) + ((event = {p3:String}) * 1 + (event = {p4:String}) * 2 + (event = {p5:String}) * 4) AS x FROM resolved_events WHERE timestamp >= fromUnixTimestamp64Milli({p0:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Milli({p1:Int64}, 'UTC') AND event IN {p2:Array(String)}) GROUP BY unit))))))))) WHERE notEmpty(attempts)))) AS u LEFT ANY JOIN (SELECT person_id, value FROM resolved_traits WHERE trait = {p6:String}) AS j0 ON j0.person_id = u.unit) GROUP BY GROUPING SETS ((), (v)) ORDER BY total DESC, n DESC, v LIMIT 101
