"""Shadow mode: deciding beside Pod's own CRON and webhook, and comparing with what Pod then does.

Nothing here writes to the database or to the media tree, and runner managers are only asked.
"""
