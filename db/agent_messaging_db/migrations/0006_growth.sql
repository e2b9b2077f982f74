-- Growth: when each table is vacuumed, and the name by which processes of one database know each other on a shared bus.

-- PostgreSQL's defaults vacuum a table when a fifth of it is dead or new. Of a hundred million messages that is every
-- twenty million: a vacuum of hours, index-only scans that fetch pages all the while, and planner statistics of last week.
-- With fixed thresholds each vacuum does about the same work, however large the table has become.
ALTER TABLE messages SET (           -- appended to; dead rows come from `prune` alone
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 10000);
ALTER TABLE deliveries SET (         -- each row dies once, when it is read: it leaves the index of what is unread
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 10000);
ALTER TABLE questions SET (          -- each row dies once, when it is settled: it leaves the indexes of what is open
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 5000);
ALTER TABLE pairs SET (              -- updated by every message, in place as long as dead versions make room
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE meetings SET (           -- updated by every turn
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
ALTER TABLE meeting_members SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
ALTER TABLE meeting_events SET (     -- appended to
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE idempotency_keys SET (   -- come and go within a day
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE inbox_cursors SET (      -- come and go within a week
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
-- A few rows, each renewed every few seconds by a process that lives: small only while it is vacuumed often.
ALTER TABLE processes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE attachments SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- One row. Several installations may share a bus (NATS); each hears its own wake-ups by this name. A copy of a database
-- keeps the name: the two then wake each other for nothing, which costs a look.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true,
    id       uuid NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT there_is_one_installation CHECK (only_row)
);
INSERT INTO installation DEFAULT VALUES;
