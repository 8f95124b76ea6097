-- One pattern of columns under every queue: state, attempts, next_attempt_at, a lease, the words of the last failure and
-- when the item was settled. What gave up after too many attempts is set aside: it stays until somebody has seen to it.
-- Columns of before keep their names: a daemon of the release before, beside this one, goes on reading and writing them.

ALTER TABLE poddispatchd.callback
    ADD COLUMN lease_owner text, ADD COLUMN lease_expires_at timestamptz, ADD COLUMN last_error text,
    DROP CONSTRAINT callback_state_check,
    ADD CONSTRAINT callback_state_check CHECK (state IN ('open', 'applied', 'ignored', 'orphaned', 'set_aside'));
CREATE INDEX callback_unsettled ON poddispatchd.callback (state) WHERE state IN ('open', 'set_aside');

ALTER TABLE poddispatchd.import
    DROP CONSTRAINT import_state_check,
    ADD CONSTRAINT import_state_check CHECK (state IN ('open', 'done', 'failed', 'dropped', 'set_aside'));
CREATE INDEX import_unsettled ON poddispatchd.import (state) WHERE state IN ('open', 'set_aside');

ALTER TABLE poddispatchd.notice
    ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'set_aside')),
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN lease_owner text, ADD COLUMN lease_expires_at timestamptz, ADD COLUMN last_error text,
    ADD COLUMN settled_at timestamptz;

ALTER TABLE poddispatchd.delivery
    ADD COLUMN lease_owner text, ADD COLUMN lease_expires_at timestamptz,
    DROP CONSTRAINT delivery_state_check,
    ADD CONSTRAINT delivery_state_check CHECK (state IN ('open', 'done', 'failed', 'dropped', 'set_aside'));
CREATE INDEX delivery_unsettled ON poddispatchd.delivery (state) WHERE state IN ('open', 'set_aside');

ALTER TABLE poddispatchd.obsolete_file
    ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'set_aside')),
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN last_error text, ADD COLUMN settled_at timestamptz;
COMMENT ON COLUMN poddispatchd.obsolete_file.claimed_by IS
    'Whose lease it is (lease_owner elsewhere): the instance that is deleting it; no import puts it in place again meanwhile';
COMMENT ON COLUMN poddispatchd.obsolete_file.claimed_until IS 'Until when (lease_expires_at elsewhere)';
