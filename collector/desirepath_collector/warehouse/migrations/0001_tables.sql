-- What the collector writes. Everything an analyst reads is a view over these. Old parts are looked
-- for every two seconds, and the text of a mutation is not kept: an erasure has to end some time.
-- What an insert has answered is on the disk, and a merge does not take that back: the parts that it
-- replaces are removed, so its own are synced too. The same in every table of every migration.

CREATE TABLE IF NOT EXISTS events
(
    message_uuid UUID DEFAULT if(toString(toUUIDOrZero(raw_message_id)) = raw_message_id, toUUIDOrZero(raw_message_id), toUUID('00000000-0000-0000-0000-000000000000')) COMMENT 'message_id, if it is a UUID: 16 bytes instead of 36' CODEC(ZSTD(1)),
    message_text String DEFAULT if(toString(message_uuid) = raw_message_id, '', raw_message_id) COMMENT 'message_id, if it is not a UUID' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'The call: track, identify, page, screen, group or alias',
    event LowCardinality(String) COMMENT 'Name of the event in the tracking plan; empty for identify, group and alias',
    user_id String COMMENT 'The id the application knows the person by; empty while unknown' CODEC(ZSTD(1)),
    anonymous_id String COMMENT 'The id of the device or browser; empty if the client sent none' CODEC(ZSTD(1)),
    previous_id String COMMENT 'alias only: the id that user_id replaces' CODEC(ZSTD(1)),
    group_id String COMMENT 'The account, team or company that the event belongs to' CODEC(ZSTD(1)),
    session_id String COMMENT 'The session as the client counts it' CODEC(ZSTD(1)),
    actor UInt64 MATERIALIZED cityHash64(if(user_id != '', user_id, anonymous_id)) COMMENT 'Hash of the id that the person is looked up by' CODEC(ZSTD(1)),
    original_timestamp DateTime64(3, 'UTC') COMMENT 'When it happened by the client''s clock; the same in every retry' CODEC(DoubleDelta, ZSTD(1)),
    skew_ms Int64 COMMENT 'Milliseconds from original_timestamp to timestamp' CODEC(ZSTD(1)),
    sent_after_ms Int64 COMMENT 'Milliseconds from original_timestamp to sent_at' CODEC(ZSTD(1)),
    transit_ms Int64 COMMENT 'Milliseconds from sent_at, by the client''s clock, to received_at' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The source (write key) it came through',
    plan LowCardinality(String) COMMENT 'Name of the tracking plan it was checked against',
    plan_version LowCardinality(String) COMMENT 'Version of that plan',
    properties Map(LowCardinality(String), String) DEFAULT CAST(if(NOT isValidJSON(properties_json), [('$unfit', properties_json)], JSONExtractKeysAndValues(properties_json, 'String')), 'Map(LowCardinality(String), String)') COMMENT 'Properties (traits of identify and group): strings as they are, other values as JSON text, null left out; what ClickHouse cannot read is whole under $unfit' CODEC(ZSTD(1)),
    context Map(LowCardinality(String), String) DEFAULT CAST(if(NOT isValidJSON(context_json), [('$unfit', context_json)], JSONExtractKeysAndValues(context_json, 'String')), 'Map(LowCardinality(String), String)') COMMENT 'Context, nested names joined with dots: page.url, campaign.source; values as in properties' CODEC(ZSTD(1)),
    violations Array(Tuple(code LowCardinality(String), pointer String, expected String, found String)) COMMENT 'What the plan''s policy let through' CODEC(ZSTD(1)),
    message_id String ALIAS if(message_text = '', toString(message_uuid), message_text) COMMENT 'Made once by the client; the identity of the event, whatever is retried',
    distinct_id String ALIAS if(user_id != '', user_id, anonymous_id) COMMENT 'The id that the person is looked up by',
    timestamp DateTime64(3, 'UTC') ALIAS original_timestamp + toIntervalMillisecond(skew_ms) COMMENT 'When it happened, corrected for the skew of the client''s clock',
    sent_at DateTime64(3, 'UTC') ALIAS original_timestamp + toIntervalMillisecond(sent_after_ms) COMMENT 'When the client sent it, by the client''s clock',
    received_at DateTime64(3, 'UTC') ALIAS original_timestamp + toIntervalMillisecond(sent_after_ms + transit_ms) COMMENT 'When the collector took it',
    raw_message_id String EPHEMERAL COMMENT 'Insert only: message_id',
    properties_json String EPHEMERAL '{}' COMMENT 'Insert only: properties as one JSON object',
    context_json String EPHEMERAL '{}' COMMENT 'Insert only: context as one flat JSON object',
    INDEX timestamp_range timestamp TYPE minmax GRANULARITY 1,
    INDEX event_names event TYPE set(200) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(original_timestamp)
ORDER BY (toDate(original_timestamp), actor, original_timestamp, message_uuid, message_text, event)
SETTINGS
    non_replicated_deduplication_window = 1000,
    min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1,
    cleanup_delay_period = 2, max_cleanup_delay_period = 2, cleanup_delay_period_random_add = 0,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Every accepted event, once or more: read resolved_events, or the view of one event';

CREATE TABLE IF NOT EXISTS quarantine
(
    message_id String COMMENT 'The client''s id of the event' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'The call: track, identify, page, screen, group or alias',
    event LowCardinality(String) COMMENT 'Name of the event as it was sent',
    user_id String COMMENT 'As it was sent; empty if none' CODEC(ZSTD(1)),
    anonymous_id String COMMENT 'As it was sent; empty if none' CODEC(ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'When the collector took it',
    sent_at DateTime64(3, 'UTC') COMMENT 'When the client sent it, by the client''s clock',
    source LowCardinality(String) COMMENT 'The source (write key) it came through',
    plan LowCardinality(String) COMMENT 'Name of the tracking plan it broke',
    plan_version LowCardinality(String) COMMENT 'Version of that plan',
    violations Array(Tuple(code LowCardinality(String), pointer String, expected String, found String)) COMMENT 'Every way in which it broke the plan' CODEC(ZSTD(1)),
    payload String COMMENT 'The event''s JSON, personal data already hashed or dropped' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY (event, message_id)
SETTINGS
    non_replicated_deduplication_window = 1000,
    cleanup_delay_period = 2, max_cleanup_delay_period = 2, cleanup_delay_period_random_add = 0,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Events that broke their plan, with the reasons; mended and replayed by `desirepath quarantine replay`';

CREATE TABLE IF NOT EXISTS traits
(
    actor UInt64 MATERIALIZED cityHash64(distinct_id) COMMENT 'Hash of distinct_id' CODEC(ZSTD(1)),
    distinct_id String COMMENT 'The user id, or while it is unknown the anonymous id, it was set for' CODEC(ZSTD(1)),
    trait LowCardinality(String) COMMENT 'Name of the trait in the tracking plan',
    value String COMMENT 'Strings as they are, other values as JSON text' CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'UTC') COMMENT 'When it was set' CODEC(DoubleDelta, ZSTD(1)),
    message_id String COMMENT 'The identify that set it' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (trait, actor, message_id)
SETTINGS
    non_replicated_deduplication_window = 1000,
    cleanup_delay_period = 2, max_cleanup_delay_period = 2, cleanup_delay_period_random_add = 0,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Every value that every trait ever had; read resolved_traits for the latest of each person';

CREATE MATERIALIZED VIEW IF NOT EXISTS traits_from_events TO traits AS
SELECT
    if(user_id != '', user_id, anonymous_id) AS distinct_id,
    pair.1 AS trait,
    pair.2 AS value,
    original_timestamp + toIntervalMillisecond(skew_ms) AS timestamp,
    if(message_text = '', toString(message_uuid), message_text) AS message_id
FROM events
ARRAY JOIN CAST(properties, 'Array(Tuple(String, String))') AS pair
WHERE kind = 'identify';

CREATE TABLE IF NOT EXISTS identity_links
(
    id String COMMENT 'One of the two ids' CODEC(ZSTD(1)),
    other String COMMENT 'The other one' CODEC(ZSTD(1)),
    relation LowCardinality(String) COMMENT 'What id is to other: device (it was identified as other), owner (the reverse), alias (other replaces it) or aliased (the reverse)',
    first_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'The earliest identify or alias that says so'
)
ENGINE = AggregatingMergeTree
ORDER BY (id, other, relation)
SETTINGS
    non_replicated_deduplication_window = 1000,
    cleanup_delay_period = 2, max_cleanup_delay_period = 2, cleanup_delay_period_random_add = 0,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Which ids were said to be the same person, in both directions';

CREATE MATERIALIZED VIEW IF NOT EXISTS identity_links_from_events TO identity_links AS
SELECT link.1 AS id, link.2 AS other, link.3 AS relation, original_timestamp AS first_at
FROM events
ARRAY JOIN if(
    kind = 'alias',
    [(previous_id, user_id, 'alias'), (user_id, previous_id, 'aliased')],
    [(anonymous_id, user_id, 'device'), (user_id, anonymous_id, 'owner')]
) AS link
WHERE kind IN ('identify', 'alias') AND link.1 != '' AND link.2 != '' AND link.1 != link.2;

CREATE TABLE IF NOT EXISTS identities
(
    id String COMMENT 'A user id or anonymous id' CODEC(ZSTD(1)),
    person_id String COMMENT 'The id that names the person it belongs to' CODEC(ZSTD(1)),
    actor UInt64 MATERIALIZED cityHash64(id) COMMENT 'Hash of id' CODEC(ZSTD(1)),
    person UInt64 MATERIALIZED cityHash64(person_id) COMMENT 'Hash of person_id' CODEC(ZSTD(1)),
    version UInt64 COMMENT 'Nanoseconds since 1970 when this was decided; the latest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS
    non_replicated_deduplication_window = 1000,
    cleanup_delay_period = 2, max_cleanup_delay_period = 2, cleanup_delay_period_random_add = 0,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Ids that belong to a person of another name; an id that is not here is its own person';

CREATE TABLE IF NOT EXISTS plans
(
    name String COMMENT 'Name of the tracking plan',
    version String COMMENT 'major.minor.patch',
    digest String COMMENT 'SHA-256 of the source, hexadecimal',
    source String COMMENT 'The YAML, with its includes resolved' CODEC(ZSTD(3)),
    published_at DateTime64(3, 'UTC') COMMENT 'When it was published; the latest of all is the live plan'
)
ENGINE = ReplacingMergeTree
ORDER BY (published_at, name, version, digest)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Every tracking plan that was published here';
