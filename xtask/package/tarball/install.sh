#!/bin/sh
# Installs the gateway from this folder: the program into /usr/local/sbin, its settings, and a unit
# where systemd is there. DESTDIR=/somewhere puts it below another root and starts nothing.
set -eu
cd "$(dirname "$0")"
root=${DESTDIR:-}
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install.sh: must be run by root; or name another root: DESTDIR=/somewhere ./install.sh" >&2
    exit 1
fi
./loka-stratum --version >/dev/null || {
    echo "install.sh: this program is not for this machine ($(uname -m))" >&2
    exit 1
}
mkdir -p "$root/usr/local/sbin" "$root/etc/loka-stratum"
cp loka-stratum "$root/usr/local/sbin/.loka-stratum.new"
chmod 0755 "$root/usr/local/sbin/.loka-stratum.new"
mv "$root/usr/local/sbin/.loka-stratum.new" "$root/usr/local/sbin/loka-stratum"
if [ ! -e "$root/etc/loka-stratum/config.toml" ]; then
    cp config.toml "$root/etc/loka-stratum/config.toml"
    chmod 0644 "$root/etc/loka-stratum/config.toml"
fi
if [ -n "$root" ] || [ -d /run/systemd/system ]; then
    mkdir -p "$root/etc/systemd/system"
    cp loka-stratum.service "$root/etc/systemd/system/loka-stratum.service"
    chmod 0644 "$root/etc/systemd/system/loka-stratum.service"
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable loka-stratum.service
    systemctl restart loka-stratum.service || true
fi
echo "installed; the settings are in /etc/loka-stratum/config.toml"
