"""Pod's media tree (invariant I14): the one place that opens, makes, renames and deletes under MEDIA_ROOT.

Everything is done by directory descriptors from an opened root, no link is followed below its first level,
only regular files are opened, and all of it runs in threads of its own, each call with a limit.
"""
