-- How often in a row a daemon ended without a word while it was at an item. What kills its daemon, as a result over which the
-- memory of the unit runs out, was tried again at each start, until systemd started no other one.

ALTER TABLE poddispatchd.callback ADD COLUMN crashes smallint NOT NULL DEFAULT 0;
ALTER TABLE poddispatchd.import ADD COLUMN crashes smallint NOT NULL DEFAULT 0;
ALTER TABLE poddispatchd.notice ADD COLUMN crashes smallint NOT NULL DEFAULT 0;
ALTER TABLE poddispatchd.delivery ADD COLUMN crashes smallint NOT NULL DEFAULT 0;
ALTER TABLE poddispatchd.obsolete_file ADD COLUMN crashes smallint NOT NULL DEFAULT 0;
