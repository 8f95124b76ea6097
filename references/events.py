"""The page about what is logged."""

from poddispatchd.observability.catalog import explanations, message_id
from references.markdown import code, prose, table


def page() -> str:
    """Every event with the MESSAGE_ID by which the journal finds it."""
    rows = [
        (code(event), prose(words), code(message_id(event)))
        for event, words in sorted(explanations().items(), key=lambda entry: entry[0])
    ]
    return (
        "# Events\n\n"
        "Each line of the log is one of these, named `noun.verb`. In the journal it has the fields `EVENT=`, "
        "`MESSAGE_ID=` and, where they are known, `POD_TASK_ID=`, `VIDEO_ID=` and `RUNNER_MANAGER=`:\n\n"
        "```sh\n"
        "journalctl -u poddispatchd EVENT=task.failed --since today\n"
        "journalctl -u poddispatchd POD_TASK_ID=42 --catalog\n"
        "```\n\n"
        "A `MESSAGE_ID` stays as it is in every release, as long as the event has its name.\n\n"
    ) + table(("event", "when", "MESSAGE_ID"), rows)
