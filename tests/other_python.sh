#!/bin/sh
# The suite on the Python of another Debian, as root: sh tests/other_python.sh trixie [pytest options]
#
# A debootstrapped tree is kept in the cache; the tests see a clean clone of this repository in it. pip's own settings
# (PIP_*, /etc/pip.conf) hold there, too.
set -eu
suite=$1
shift
repository=$(cd "$(dirname "$0")/.." && pwd)
tree=${XDG_CACHE_HOME:-$HOME/.cache}/poddispatchd/$suite-python

command -v debootstrap > /dev/null || { echo "needs debootstrap: apt-get install debootstrap" >&2; exit 2; }
if [ ! -d "$tree" ]; then
    rm -rf "$tree.draft"
    mkdir -p "$tree.draft"
    debootstrap --variant=minbase \
        --include=python3,python3-venv,python3-dev,gcc,libc6-dev,make,git,ca-certificates,procps,iproute2 \
        "$suite" "$tree.draft" ${DEBIAN_MIRROR:-}
    mv "$tree.draft" "$tree"
fi
rm -rf "$tree/srv/poddispatchd"
git clone --quiet --no-hardlinks "file://$repository" "$tree/srv/poddispatchd"
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
    [ ! -f "$file" ] || cp -L "$file" "$tree$file"
done
for certificates in /usr/local/share/ca-certificates /etc/ssl/certs; do
    [ ! -d "$certificates" ] || { mkdir -p "$tree$certificates"; cp -rL "$certificates/." "$tree$certificates/" 2> /dev/null || true; }
done
exec unshare --mount --pid --fork --mount-proc="$tree/proc" sh -ec '
    tree=$1; shift
    mount -t tmpfs tmpfs "$tree/dev/shm" 2> /dev/null || { mkdir -p "$tree/dev/shm"; mount -t tmpfs tmpfs "$tree/dev/shm"; }
    exec chroot "$tree" sh -ec "cd /srv/poddispatchd && python3 --version && exec make test PYTEST_OPTIONS=\"$*\""
' sh "$tree" "$@"
