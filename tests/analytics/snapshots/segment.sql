-- p0 = 'buy'
-- p1 = 1767312000000
-- p2 = ['SE']
-- p3 = 1767225600000
-- p4 = 1769904000000
-- p5 = ['buy']
-- p6 = 'country'
SELECT person_id
FROM (SELECT p.person_id AS person_id
FROM (SELECT person_id, countIf(event = {p0:String} AND timestamp >= fromUnixTimestamp64Milli({p1:Int64}, 'UTC')) AS c0 FROM resolved_events WHERE timestamp >= fromUnixTimestamp64Milli({p3:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Milli({p4:Int64}, 'UTC') AND event IN {p5:Array(String)} AND timestamp >= fromUnixTimestamp64Milli({p1:Int64}, 'UTC') GROUP BY person_id) AS p LEFT ANY JOIN (SELECT person_id, value, 1 AS here FROM resolved_traits WHERE trait = {p6:String}) AS t0 ON t0.person_id = p.person_id WHERE ((c0 >= 3) AND t0.value IN {p2:Array(String)})) ORDER BY person_id
