#!/bin/sh
# Puts everything that the system reads in its place: units, user, who may read the configuration, completions, man
# pages and the command. Run as root, from a checkout (or share/poddispatchd of an environment), again after an upgrade:
#   sh systemd/install.sh /path/of/MEDIA_ROOT
# poddispatchd itself is in /opt/poddispatchd (see README.md). DESTDIR, UNITDIR and BINDIR are for packages.
set -eu

media=${1:?"usage: sh systemd/install.sh MEDIA_ROOT (pod.media_root of the configuration)"}
here=$(dirname "$0")
root=${DESTDIR:-}
drop_ins=$root/etc/systemd/system/poddispatchd.service.d
units=$root${UNITDIR:-/etc/systemd/system}
bin=$root${BINDIR:-/usr/local/bin}

case $media in
    /*) ;;
    *) echo "MEDIA_ROOT is an absolute path: $media" >&2; exit 2 ;;
esac
case $media in
    *[[:space:]\"\'\\]*)
        echo "MEDIA_ROOT holds a blank, a quote or a backslash, which systemd reads otherwise: $media" >&2
        exit 2
        ;;
esac

install -d "$units" "$drop_ins" "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d" "$bin"
install -m 0644 "$here/poddispatchd.service" "$here/poddispatchd-webhook.socket" "$units/"
install -m 0644 "$here/sysusers.d/poddispatchd.conf" "$root/usr/lib/sysusers.d/"
install -m 0644 "$here/tmpfiles.d/poddispatchd.conf" "$root/usr/lib/tmpfiles.d/"
ln -sf /opt/poddispatchd/bin/poddispatchd "$bin/poddispatchd"

# As systemd reads it.
written=$(printf '%s' "$media" | sed 's/%/%%/g')
# A drop-in that somebody has changed is theirs.
if [ -e "$drop_ins/media.conf" ]; then
    grep -qF "$written" "$drop_ins/media.conf" ||
        echo "$drop_ins/media.conf is kept as it is, and does not name $media: change it there" >&2
else
    written=$(printf '%s' "$written" | sed 's/[&|]/\\&/g')
    sed "s|/usr/local/django_projects/podv4/pod/media|$written|" \
        "$here/poddispatchd.service.d/media.conf" > "$drop_ins/media.conf"
fi

install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/usr/share/man/man8" "$root/usr/share/man/man5" \
    "$root/usr/lib/systemd/catalog"
share=$here/../share
install -m 0644 "$share/completions/poddispatchd.bash" "$root/usr/share/bash-completion/completions/poddispatchd"
install -m 0644 "$share/completions/_poddispatchd" "$root/usr/share/zsh/vendor-completions/"
install -m 0644 "$share/completions/poddispatchd.fish" "$root/usr/share/fish/vendor_completions.d/"
install -m 0644 "$share/man/poddispatchd.8" "$root/usr/share/man/man8/"
install -m 0644 "$share/man/poddispatchd.yaml.5" "$root/usr/share/man/man5/"
install -m 0644 "$share/poddispatchd.catalog" "$root/usr/lib/systemd/catalog/"

if [ -z "$root" ]; then
    systemd-sysusers poddispatchd.conf
    systemd-tmpfiles --create poddispatchd.conf
    journalctl --update-catalog
    systemctl daemon-reload
fi
