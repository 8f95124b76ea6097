-- How large a source was when it was submitted: a file that was replaced under its own name is not what a result was made of.

ALTER TABLE poddispatchd.submission ADD COLUMN source_size bigint;
COMMENT ON COLUMN poddispatchd.submission.source_size IS 'Bytes of the source file of an encoding, if it could be looked at';
