-- The relations that questions read: each message once, each person resolved.

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
    person_id String COMMENT 'The person, after identify and alias, also for what happened before them'
)
AS SELECT
    e.message_id AS message_id, e.kind AS kind, e.event AS event, e.user_id AS user_id,
    e.anonymous_id AS anonymous_id, e.previous_id AS previous_id, e.group_id AS group_id,
    e.session_id AS session_id, e.timestamp AS timestamp,
    e.original_timestamp AS original_timestamp, e.sent_at AS sent_at,
    e.received_at AS received_at, e.source AS source, e.plan AS plan,
    e.plan_version AS plan_version, e.properties AS properties, e.context AS context,
    e.violations AS violations,
    if(i.person_id != '', i.person_id, e.distinct_id) AS person_id
FROM events AS e FINAL
LEFT ANY JOIN (SELECT id, person_id FROM identities FINAL) AS i ON i.id = e.distinct_id
COMMENT 'Every accepted event once, with the person it belongs to: what questions read';

CREATE VIEW IF NOT EXISTS resolved_traits
(
    person_id String COMMENT 'The person',
    trait LowCardinality(String) COMMENT 'Name of the trait in the tracking plan',
    value String COMMENT 'The latest value: strings as they are, other values as JSON text',
    timestamp DateTime64(3, 'UTC') COMMENT 'When that value was set'
)
AS SELECT
    if(i.person_id != '', i.person_id, t.distinct_id) AS person_id,
    t.trait AS trait,
    argMax(t.value, (t.timestamp, t.message_id)) AS value,
    max(t.timestamp) AS timestamp
FROM traits AS t
LEFT ANY JOIN (SELECT id, person_id FROM identities FINAL) AS i ON i.id = t.distinct_id
GROUP BY person_id, trait
COMMENT 'The latest value of each trait of each person';
