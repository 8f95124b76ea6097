"""poddispatchd's own schema: callbacks, submission intents, import attempts, leadership."""
