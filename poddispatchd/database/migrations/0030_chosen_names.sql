-- Which files have a name that was chosen because it was free: nobody else brings them, so that they go unless a row names them.

ALTER TABLE poddispatchd.import_file ADD COLUMN is_chosen boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN poddispatchd.import_file.is_chosen IS 'Its name was chosen because it was free: no other result has it';
