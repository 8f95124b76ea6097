-- Whether a task was added before a run began, or again after it: Pod's clock and the database's may differ.

ALTER TABLE poddispatchd.submission ADD COLUMN date_added timestamptz;
COMMENT ON COLUMN poddispatchd.submission.date_added IS
    'The one of its row then: a task that was restarted meanwhile, by whomever, has another one';

CREATE TABLE poddispatchd.wish (
    task_pk bigint NOT NULL,
    submission_id bigint NOT NULL REFERENCES poddispatchd.submission ON DELETE CASCADE,
    date_added timestamptz NOT NULL,
    PRIMARY KEY (task_pk, submission_id)
);
COMMENT ON TABLE poddispatchd.wish IS 'Tasks that waited for the same source when another one was submitted for all';
CREATE INDEX wish_by_submission ON poddispatchd.wish (submission_id);
