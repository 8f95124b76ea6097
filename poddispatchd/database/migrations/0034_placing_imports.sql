-- Which imports put files in place just now. One that is fetched once more, after a crash amid that, has recorded its files, too: for
-- as long as it took, other results of the same video were fetched and put off, again and again.
-- True unless whoever took the lease says otherwise: a daemon of an older release, which may be beside us for a moment, says nothing.

ALTER TABLE poddispatchd.import ADD COLUMN is_placing boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN poddispatchd.import.is_placing IS 'Whoever has its lease may be putting files in place: it has recorded them since, or is of an older release';
