-- A task that goes back into the queue waits there: what spoilt its run may pass with time.

ALTER TABLE poddispatchd.own_task ADD COLUMN not_before timestamptz, ADD COLUMN date_added timestamptz;
COMMENT ON COLUMN poddispatchd.own_task.not_before IS 'Until when a task that was put back is not submitted';
COMMENT ON COLUMN poddispatchd.own_task.date_added IS
    'The one of its row then: a task that was restarted meanwhile, by whomever, has another one and does not wait';
