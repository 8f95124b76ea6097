-- Which imports put files in place just now. One that is fetched once more, after a crash amid that, has recorded its files, too: for
-- as long as it took, other results of the same video were fetched and put off, again and again.

ALTER TABLE poddispatchd.import ADD COLUMN is_placing boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN poddispatchd.import.is_placing IS 'Whoever has its lease has recorded its files since, and is putting them in place';
