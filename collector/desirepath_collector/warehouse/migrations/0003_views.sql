-- What the views of planned events are made of. A column, once there, stays.

CREATE TABLE IF NOT EXISTS event_columns
(
    event String COMMENT 'Name of the event in the tracking plan',
    view String COMMENT 'Name of its view',
    property String COMMENT 'Name of the property in the tracking plan; empty for the view itself',
    column String COMMENT 'Name of its column in the view',
    type LowCardinality(String) COMMENT 'ClickHouse type of the column',
    position UInt32 COMMENT 'Place of the column in the view, from 1',
    comment String COMMENT 'The plan''s description, with the unit',
    version UInt64 COMMENT 'Nanoseconds since 1970 when this was published; the latest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (event, column)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Every column that the view of a planned event has or had';
