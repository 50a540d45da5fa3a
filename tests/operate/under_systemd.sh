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
health() { curl -sf --max-time 20 http://127.0.0.1:8080/health/ready; }
BINARY=./tidegate scripts/install && echo installed
# As it comes, but for the time that a drain takes.
sed -i 's/^delay_ms.*/delay_ms = 200/; s/^window_ms.*/window_ms = 200/' /etc/tidegate/tidegate.toml
# Type=notify: it has said that it serves.
systemctl start tidegate && health && echo started
journalctl -u tidegate --no-pager >log
cat log
grep -q 'tidegate 0' log && ! grep -q 'by epoll' log && echo by io_uring
systemctl reload tidegate && systemctl is-active tidegate && echo reloaded
systemctl stop tidegate
[ "$(systemctl show tidegate -p Result --value)" = success ] && echo stopped with success
systemctl start tidegate.socket
# Ready it is a moment after it takes clients.
! systemctl is-active tidegate && curl -sf --max-time 20 http://127.0.0.1:8080/health/live && systemctl start tidegate && health &&
    echo started by its socket
# Does something while clients connect; fails where one of them found nobody who listens (curl's 7). What an old gateway has taken may be
# cut off by its end.
while_clients_come() {
    "$@" &
    refused=0 asked=0
    set +x
    while kill -0 $! 2>/dev/null || [ $asked -lt 20 ]; do
        health >/dev/null || [ $? != 7 ] || refused=$((refused + 1))
        asked=$((asked + 1))
    done
    set -x
    wait
    echo "$refused of $asked"
    [ $refused = 0 ] && health
}
while_clients_come systemctl restart tidegate && echo nobody refused over a restart
systemctl stop tidegate.socket tidegate
systemctl start tidegate@a && health && while_clients_come systemctl start tidegate@b
for _ in 1 2 3 4 5 6 7 8 9 10; do systemctl is-active tidegate@a || break; sleep 1; done
! systemctl is-active tidegate@a && systemctl is-active tidegate@b && health && [ "$refused" = 0 ] && echo nobody refused over a takeover
[ "$(systemctl show tidegate@a -p Result --value)" = success ] && echo the one before ended well
journalctl -u 'tidegate*' --no-pager
scripts/install --uninstall
[ ! -e /usr/local/bin/tidegate ] && ! ls /usr/local/lib/systemd/system/tidegate* && [ -e /etc/tidegate/tidegate.toml ] && echo taken away
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
