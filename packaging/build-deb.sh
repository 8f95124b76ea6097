#!/bin/sh
# Builds poddispatchd_VERSION_ARCH.deb into a directory: a virtual environment with the versions of constraints.txt under
# /opt/poddispatchd, and everything around it. The package fits the Debian whose Python builds it.
#   PYTHON=/usr/bin/python3 sh packaging/build-deb.sh dist
# Its maintainer is who builds it: DEBFULLNAME and DEBEMAIL, as for Debian's own tools, else this account.
set -eu

out=${1:?"usage: sh packaging/build-deb.sh DIRECTORY"}
here=$(cd "$(dirname "$0")" && pwd)
source=$here/..
python=${PYTHON:-/usr/bin/python3}
# pip of another environment installs into the one that is built: the package needs none.
pip=${PIP:-"$python -m pip"}

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022
chmod 0755 "$stage"
prefix=$stage/opt/poddispatchd

"$python" -m venv --without-pip "$prefix"
$pip --python "$prefix/bin/python" install --quiet --disable-pip-version-check --no-warn-script-location \
    --root-user-action ignore --constraint "$source/constraints.txt" "$source"
# The environment knows the place where it was built.
find "$prefix/bin" -type f -exec sed -i "s|$stage/opt|/opt|g" {} +
sed -i "s|$stage/opt|/opt|g" "$prefix/pyvenv.cfg"
find "$prefix" -name direct_url.json -delete
# What the wheel carries for the system goes to its places below.
rm -rf "$prefix/share/poddispatchd" "$prefix/share/man/man8/poddispatchd.8" "$prefix/share/man/man5/poddispatchd.yaml.5"
find "$prefix" -name __pycache__ -type d -prune -exec rm -rf {} +

DESTDIR=$stage UNITDIR=/usr/lib/systemd/system BINDIR=/usr/bin \
    sh "$source/systemd/install.sh" /usr/local/django_projects/podv4/pod/media
gzip -9n "$stage/usr/share/man/man8/poddispatchd.8" "$stage/usr/share/man/man5/poddispatchd.yaml.5"
doc=$stage/usr/share/doc/poddispatchd
install -d "$doc/examples/nginx" "$doc/examples/prometheus" "$doc/examples/grafana" "$doc/examples/systemd"
install -m 0644 "$source/LICENSE" "$doc/copyright"
install -m 0644 "$source/README.md" "$source/SECURITY.md" "$doc/"
# Where Debian's tools look for it; theirs is about the package, below.
gzip -9n < "$source/CHANGELOG.md" > "$doc/changelog.gz"
# What the README and the messages send people to, who have no checkout then.
install -d "$doc/docs/fr" "$doc/docs/reference"
install -m 0644 "$source"/docs/*.md "$source"/docs/*.svg "$doc/docs/"
install -m 0644 "$source"/docs/fr/*.md "$doc/docs/fr/"
install -m 0644 "$source"/docs/reference/*.md "$doc/docs/reference/"
install -m 0644 "$source/config.yaml.example" "$doc/examples/"
install -m 0644 "$source"/contrib/nginx/*.conf "$doc/examples/nginx/"
install -m 0644 "$source"/contrib/prometheus/poddispatchd.rules.yml "$doc/examples/prometheus/"
install -m 0644 "$source"/contrib/grafana/*.json "$doc/examples/grafana/"
install -m 0644 "$source"/systemd/examples/*.conf "$doc/examples/systemd/"

version=$("$prefix/bin/python" -c 'import poddispatchd; print(poddispatchd.__version__)' | sed 's/\(a\|b\|rc\|\.dev\)/~\1/')
# apt takes two builds of one release for the same package, and installs nothing: each has a revision of its own.
moment=@${SOURCE_DATE_EPOCH:-$(date +%s)}
revision=$(date --utc --date "$moment" +%Y%m%d%H%M%S)
next=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
this=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
arch=$(dpkg --print-architecture)
account=$(id -un)
maintainer="${DEBFULLNAME:-$account} <${DEBEMAIL:-$account@$(hostname --fqdn 2> /dev/null || hostname)}>"
gzip -9n > "$doc/changelog.Debian.gz" <<END
poddispatchd ($version-$revision) unstable; urgency=medium

  * Built from the source; changelog.gz says what is new in it.

 -- $maintainer  $(LC_ALL=C date --utc --date "$moment" '+%a, %d %b %Y %H:%M:%S +0000')
END
install -d "$stage/DEBIAN"
install -m 0755 "$here/postinst" "$here/prerm" "$here/postrm" "$stage/DEBIAN/"
(cd "$stage" && find etc -type f | sed 's|^|/|') > "$stage/DEBIAN/conffiles"
cat > "$stage/DEBIAN/control" <<END
Package: poddispatchd
Version: $version-$revision
Architecture: $arch
Maintainer: $maintainer
Section: video
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Depends: libc6, python3 (>= $this), python3 (<< $next), systemd
Suggests: nginx, postgresql, prometheus
Description: dispatcher of Esup-Pod's encoding, transcription and studio tasks
 Hands the tasks of Esup-Pod to Esup-Runner's runner managers, takes their
 callbacks, and imports the results into Pod's PostgreSQL and MEDIA_ROOT. It
 replaces Pod's CRON line process_tasks and its webhook.
END
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$stage" "$out/poddispatchd_${version}_$arch.deb" > /dev/null
echo "$out/poddispatchd_${version}_$arch.deb"
