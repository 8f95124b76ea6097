-- What an import puts in place, so that nothing of one that never ends well stays behind; and how long it has waited.

ALTER TABLE poddispatchd.import ADD COLUMN obstructed_since timestamptz;
COMMENT ON COLUMN poddispatchd.import.obstructed_since IS 'Since when something outside the result keeps it from being imported: no space, no manager';

CREATE TABLE poddispatchd.import_file (
    import_id bigint NOT NULL REFERENCES poddispatchd.import (id) ON DELETE CASCADE,
    path text NOT NULL,
    is_new boolean NOT NULL,
    PRIMARY KEY (import_id, path)
);
COMMENT ON TABLE poddispatchd.import_file IS 'Files under MEDIA_ROOT that an uncommitted import puts in place; recorded before the first rename';
COMMENT ON COLUMN poddispatchd.import_file.is_new IS 'Nothing that anybody needs was there before: to be deleted unless the import is committed';
CREATE INDEX import_file_by_path ON poddispatchd.import_file (path);
