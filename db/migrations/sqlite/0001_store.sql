-- What src/store keeps. Times are milliseconds since 1970 UTC, NULL: not yet.
-- No foreign keys: src/store deletes what belongs together in one transaction, child rows first, and
-- its tests count what is left; a cascade would hide how much one deletion costs.
-- Deleting must really delete, so the driver opens the file with PRAGMA secure_delete = ON.

-- One recording. settled_ms: since when none of its analyses waits (then its recording may expire).
CREATE TABLE uploads (
    id               TEXT NOT NULL PRIMARY KEY,
    sha256           TEXT NOT NULL,
    bytes            BIGINT NOT NULL,
    file_name        TEXT NOT NULL,
    created_ms       BIGINT NOT NULL,
    settled_ms       BIGINT,
    audio_deleted_ms BIGINT
);
CREATE INDEX uploads_to_expire ON uploads (settled_ms)
    WHERE settled_ms IS NOT NULL AND audio_deleted_ms IS NULL;

-- One judgement of a recording. sha256 and name_folded repeat what the upload says (neither ever
-- changes), so that a search and the look for an earlier result need one table.
CREATE TABLE analyses (
    id               TEXT NOT NULL PRIMARY KEY,
    upload_id        TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed')),
    sha256           TEXT NOT NULL,
    name_folded      TEXT NOT NULL,
    fresh            INTEGER NOT NULL,
    runs             INTEGER NOT NULL DEFAULT 0,
    stability_status TEXT NOT NULL DEFAULT '',
    created_ms       BIGINT NOT NULL,
    checked_ms       BIGINT,
    started_ms       BIGINT,
    finished_ms      BIGINT,
    verdict          TEXT,
    llr              DOUBLE PRECISION,
    p                DOUBLE PRECISION,
    duration_s       DOUBLE PRECISION,
    speech_s         DOUBLE PRECISION,
    model_name       TEXT,
    model_sha256     TEXT,
    reused_from      TEXT,
    error_code       TEXT,
    error_text       TEXT
);
-- The list, newest first, of all, of a status, of a verdict, of the same bytes.
CREATE INDEX analyses_by_created ON analyses (created_ms, id);
CREATE INDEX analyses_by_status ON analyses (status, created_ms, id);
CREATE INDEX analyses_by_verdict ON analyses (verdict, created_ms, id) WHERE verdict IS NOT NULL;
CREATE INDEX analyses_by_sha256 ON analyses (sha256, created_ms, id);
-- The newest result for the same bytes and model.
CREATE INDEX analyses_to_reuse ON analyses (sha256, model_sha256, finished_ms) WHERE status = 'done';
-- The analyses of an upload; the oldest results.
CREATE INDEX analyses_by_upload ON analyses (upload_id);
CREATE INDEX analyses_by_finished ON analyses (finished_ms) WHERE finished_ms IS NOT NULL;

CREATE TABLE results (
    analysis_id TEXT NOT NULL PRIMARY KEY,
    json        TEXT NOT NULL
);

CREATE TABLE stability (
    analysis_id TEXT NOT NULL PRIMARY KEY,
    json        TEXT NOT NULL
);

-- 'waiting': analyses queued or running. 'events_removed': the last event that store_tidy removed.
CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('waiting', 0), ('events_removed', 0);

CREATE TABLE idempotency (
    key         TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_ms  BIGINT NOT NULL
);
CREATE INDEX idempotency_by_created ON idempotency (created_ms);
CREATE TABLE idempotency_answers (
    key         TEXT NOT NULL,
    position    INTEGER NOT NULL,
    analysis_id TEXT NOT NULL,
    PRIMARY KEY (key, position)
);
CREATE INDEX idempotency_answers_by_analysis ON idempotency_answers (analysis_id);

-- AUTOINCREMENT, here and below: a number is never given twice, even when the newest row is gone.
CREATE TABLE outbox (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL,
    queue      TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    analysis_id TEXT NOT NULL,
    deleted     INTEGER NOT NULL,
    created_ms  BIGINT NOT NULL
);
CREATE INDEX events_by_analysis ON events (analysis_id);

CREATE TABLE blob_deletions (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket     INTEGER NOT NULL,
    key        TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (key, bucket)
);

CREATE TABLE webhooks (
    id         TEXT NOT NULL PRIMARY KEY,
    url        TEXT NOT NULL,
    secret     TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE deliveries (
    id          TEXT NOT NULL PRIMARY KEY,
    webhook_id  TEXT NOT NULL,
    analysis_id TEXT,
    type        TEXT NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    status      INTEGER NOT NULL DEFAULT 0,
    outcome     TEXT NOT NULL DEFAULT 'pending',
    error       TEXT NOT NULL DEFAULT '',
    created_ms  BIGINT NOT NULL,
    last_ms     BIGINT
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, created_ms, id);
CREATE INDEX deliveries_by_analysis ON deliveries (analysis_id) WHERE analysis_id IS NOT NULL;
CREATE INDEX deliveries_by_created ON deliveries (created_ms);
