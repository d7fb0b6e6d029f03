#!/bin/sh
# Removes what install.sh put there. Settings and state stay; --purge removes them too.
set -eu
root=${DESTDIR:-}
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now loka-stratum.service 2>/dev/null || true
fi
rm -f "$root/usr/local/sbin/loka-stratum" "$root/etc/systemd/system/loka-stratum.service"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ "${1:-}" = --purge ]; then
    rm -rf "$root/etc/loka-stratum" "$root/var/lib/loka-stratum" "$root/var/lib/private/loka-stratum"
fi
