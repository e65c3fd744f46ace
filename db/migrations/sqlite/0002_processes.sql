-- Several processes on one database. origin: the process that wrote the row and will publish it ('' of
-- programs before this change); a keeper publishes the rows of processes that died, by their age.
ALTER TABLE outbox ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_by_origin ON outbox (origin, number);
CREATE INDEX outbox_by_created ON outbox (created_ms);

-- What one process at a time does: whose turn it is, and until when.
CREATE TABLE leases (
    name     TEXT NOT NULL PRIMARY KEY,
    owner    TEXT NOT NULL,
    until_ms BIGINT NOT NULL
);
