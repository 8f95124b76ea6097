-- One failure of one run is told once, whatever its manager appends to the words or the runner to its output.

ALTER TABLE poddispatchd.failure ADD COLUMN digest bytea;
COMMENT ON COLUMN poddispatchd.failure.digest IS
    'SHA-256 of the words of the failure without numbers; NULL for one that poddispatchd found itself';
