-- p0 = 1767225600000
-- p1 = 1769904000000
-- p2 = ['buy', 'cart', 'view']
-- p3 = [1, 2, 3]
SELECT if(length(nodes) <= 5, nodes, arrayConcat(arraySlice(nodes, 1, 3), [toUInt32(4), nodes[-1]])) AS path, count() AS n
FROM (SELECT arraySlice(nodes, 1, place + 1) AS nodes
FROM (SELECT nodes, indexOf(arraySlice(nodes, 2), 1) AS place
FROM (SELECT arraySlice(nodes, first) AS nodes
FROM (SELECT *, indexOf(nodes, 3) AS first
FROM (SELECT arrayCompact(arrayMap(x -> toUInt32(bitAnd(x, 1048575)), visit)) AS nodes
FROM (SELECT arrayJoin(arraySplit((x, before) -> bitShiftRight(x, 20) - bitShiftRight(before, 20) > 1800000, xs, arrayPushFront(arrayPopBack(xs), xs[1]))) AS visit
FROM (SELECT arraySort(groupArray(x)) AS xs
FROM (SELECT person_id, bitShiftLeft(toUInt64(toUnixTimestamp64Milli(timestamp)), 20) + toUInt64(transform(toString(event), {p2:Array(String)}, {p3:Array(UInt32)}, 0)) AS x FROM resolved_events WHERE kind IN ('track', 'page', 'screen') AND timestamp >= fromUnixTimestamp64Milli({p0:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Milli({p1:Int64}, 'UTC')) GROUP BY person_id)))) WHERE first > 0)) WHERE place > 0) GROUP BY path
