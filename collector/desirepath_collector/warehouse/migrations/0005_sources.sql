-- Data that was imported from elsewhere: what, when, and how it went.

CREATE TABLE IF NOT EXISTS registered_sources
(
    name String COMMENT 'The name it was imported under; the source of its rows',
    kind LowCardinality(String) COMMENT 'What its rows became: traits or events',
    path String COMMENT 'The file, as it was named',
    rows UInt64 COMMENT 'Rows read',
    added UInt64 COMMENT 'Rows that were new',
    refused UInt64 COMMENT 'Rows that could not be taken',
    imported_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was imported'
)
ENGINE = MergeTree
ORDER BY (name, imported_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Every import, by `desirepath import`';
