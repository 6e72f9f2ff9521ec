-- The relations that questions read: each message once, each person resolved.

CREATE DICTIONARY IF NOT EXISTS people
(
    actor UInt64,
    person UInt64,
    person_id String
)
PRIMARY KEY actor
SOURCE(CLICKHOUSE({credentials}QUERY 'SELECT actor, person, person_id FROM {database}.identities FINAL WHERE actor != person'))
LAYOUT(HASHED())
LIFETIME(MIN 5 MAX 10)
COMMENT 'The table identities in memory: how each event finds its person';

CREATE VIEW IF NOT EXISTS resolved_events
(
    message_id String COMMENT 'Made once by the client; each is here once',
    kind LowCardinality(String) COMMENT 'The call: track, identify, page, screen, group or alias',
    event LowCardinality(String) COMMENT 'Name of the event in the tracking plan',
    user_id String COMMENT 'The id the application knows the person by; empty while unknown',
    anonymous_id String COMMENT 'The id of the device or browser',
    previous_id String COMMENT 'alias only: the id that user_id replaces',
    group_id String COMMENT 'The account, team or company that the event belongs to',
    session_id String COMMENT 'The session as the client counts it',
    timestamp DateTime64(3, 'UTC') COMMENT 'When it happened, corrected for the skew of the client''s clock',
    original_timestamp DateTime64(3, 'UTC') COMMENT 'When it happened by the client''s clock',
    sent_at DateTime64(3, 'UTC') COMMENT 'When the client sent it, by the client''s clock',
    received_at DateTime64(3, 'UTC') COMMENT 'When the collector took it',
    source LowCardinality(String) COMMENT 'The source (write key) it came through',
    plan LowCardinality(String) COMMENT 'Name of the tracking plan it was checked against',
    plan_version LowCardinality(String) COMMENT 'Version of that plan',
    properties Map(LowCardinality(String), String) COMMENT 'Strings as they are, other values as JSON text',
    context Map(LowCardinality(String), String) COMMENT 'Nested names joined with dots: page.url, campaign.source',
    violations Array(Tuple(code LowCardinality(String), pointer String, expected String, found String)) COMMENT 'What the plan''s policy let through',
    person UInt64 COMMENT 'Hash of person_id: grouping and joining by it costs half as much',
    person_id String COMMENT 'The person, after identify and alias, also for what happened before them'
)
AS SELECT
    message_id, kind, event, user_id, anonymous_id, previous_id, group_id, session_id, timestamp,
    original_timestamp, sent_at, received_at, source, plan, plan_version, properties, context,
    violations,
    dictGetOrDefault('{database}.people', 'person', actor, actor) AS person,
    dictGetOrDefault('{database}.people', 'person_id', actor, distinct_id) AS person_id
FROM events FINAL
COMMENT 'Every accepted event once, with the person it belongs to: what questions read';

CREATE VIEW IF NOT EXISTS resolved_traits
(
    person UInt64 COMMENT 'Hash of person_id',
    person_id String COMMENT 'The person',
    trait LowCardinality(String) COMMENT 'Name of the trait in the tracking plan',
    value String COMMENT 'The latest value: strings as they are, other values as JSON text',
    timestamp DateTime64(3, 'UTC') COMMENT 'When that value was set'
)
AS SELECT
    dictGetOrDefault('{database}.people', 'person', t.actor, t.actor) AS person,
    any(dictGetOrDefault('{database}.people', 'person_id', t.actor, t.distinct_id)) AS person_id,
    t.trait AS trait,
    argMax(t.value, (t.timestamp, t.message_id)) AS value,
    max(t.timestamp) AS timestamp
FROM traits AS t
GROUP BY person, trait
COMMENT 'The latest value of each trait of each person';
