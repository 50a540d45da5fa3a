#!/bin/sh
# The installed unit under a systemd of its own: under_systemd.sh NSPAWN PLACE CHECKOUT BINARY, as root, in a mount namespace of its own.
# What came of each step is in PLACE/result/said; where that file is missing, no container could be booted.
set -eu
nspawn=$1 place=$2 checkout=$3 binary=$4

# This machine's files, and what is written to them goes nowhere.
mkdir "$place/root" "$place/over" "$place/result"
mount -t tmpfs tmpfs "$place/over"
mkdir "$place/over/upper" "$place/over/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/over/upper,workdir=$place/over/work" "$place/root"
mount -t tmpfs tmpfs /run
inside=$place/root/opt/tidegate-checkout
mkdir -p "$inside"
cp -r "$checkout/scripts" "$inside/"
cp "$binary" "$inside/tidegate"
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$place/root/etc/machine-id"

cat >"$inside/steps" <<'STEPS'
exec >/result/said 2>&1
set -x
cd /opt/tidegate-checkout
BINARY=./tidegate scripts/install && echo installed
systemctl start tidegate && echo started
curl -sf --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8081/health/ready && ready=1
journalctl -u tidegate --no-pager >log
cat log
[ "$ready" = 1 ] && ! grep -q 'by epoll' log && echo ready by io_uring
systemctl reload tidegate && systemctl is-active tidegate && echo reloaded
systemctl stop tidegate
[ "$(systemctl show tidegate -p Result --value)" = success ] && echo stopped with success
scripts/install --uninstall
[ ! -e /usr/local/bin/tidegate ] && [ -e /etc/tidegate/tidegate.toml ] && echo taken away
STEPS
cat >"$place/root/etc/systemd/system/steps.service" <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sh /opt/tidegate-checkout/steps
ExecStopPost=/bin/systemctl poweroff --force
UNIT
# Docker's and nspawn's own filters have no io_uring.
"$nspawn" --directory="$place/root" --bind="$place/result:/result" --register=no --keep-unit --link-journal=no --console=passive \
    --system-call-filter=@aio --private-network --boot systemd.unit=steps.service
