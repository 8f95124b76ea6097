"""The unit file under a real systemd, in a container of Debian; run by ``make test-systemd``, as root."""
