"""Statements that the server cancels, as by a statement_timeout or for an administrator."""

CANCEL = """
CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF {condition} THEN
        PERFORM pg_cancel_backend(pg_backend_pid());
        PERFORM pg_sleep(30);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cancel BEFORE UPDATE ON runner_manager_task FOR EACH ROW EXECUTE FUNCTION cancel();
"""
"""A trigger on Pod's task table; ``condition`` is of the rows whose changes are cancelled."""
