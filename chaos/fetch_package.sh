#!/bin/sh
# fetch_package.sh PACKAGE DIRECTORY: unpacks a program of Debian's, with the libraries that are missing here, into a
# directory: nothing is installed, no root is needed. Packages come from wherever this machine's apt gets its own; their
# signatures are checked as usual.
set -eu
package=$1
target=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/debs/partial" "$work/lists/partial"

fetch() {
    apt-get -qq -y -o Debug::NoLocking=1 -o APT::Sandbox::User= -o Dir::Cache::archives="$work/debs" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
}
wanted="install --download-only --reinstall --no-install-recommends $package"

# The package lists of a fresh machine are empty, and old ones name files that are gone.
# shellcheck disable=SC2086 # several words
fetch $wanted 2> "$work/errors" ||
    { fetch -o Dir::State::lists="$work/lists" update && fetch -o Dir::State::lists="$work/lists" $wanted; }

rm -rf "$target"
mkdir -p "$target"
for archive in "$work"/debs/*.deb; do
    dpkg-deb --extract "$archive" "$target"
done
test -x "$target/usr/sbin/$package"
