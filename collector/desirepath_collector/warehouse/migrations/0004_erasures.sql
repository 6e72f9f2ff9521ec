-- Who was erased: enough to know them again, too little to know who they were.

CREATE TABLE IF NOT EXISTS erasures
(
    digest String COMMENT 'HMAC-SHA256 of one of the person''s ids with the key below, hexadecimal',
    receipt String COMMENT 'The erasure that it belongs to',
    erased_at DateTime64(3, 'UTC') COMMENT 'What happened or arrived until then is refused'
)
ENGINE = ReplacingMergeTree(erased_at)
ORDER BY digest
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Tombstones: late events and replays of erased people are dropped by these';

CREATE TABLE IF NOT EXISTS erasure_key
(
    key String COMMENT 'Random, hexadecimal, made with the first erasure; the first of all counts',
    made_at DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When it was made'
)
ENGINE = MergeTree
ORDER BY made_at
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'The key of the digests in erasures';
