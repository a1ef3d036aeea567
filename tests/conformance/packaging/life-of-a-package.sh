#!/bin/bash
#
# What a package goes through on a machine that systemd has booted: it is installed, its services run, are restarted, upgraded
# and hang, and it is removed and purged. Run inside by packaging.test.mjs; /srv/packaging has the package.
set -euo pipefail

package=$(echo /srv/packaging/aetherium_*.deb)
readonly package api=http://127.0.0.1:8080/api/v1

fail() {
    echo "FAILED: $*" >&2
    journalctl --no-pager --quiet --output=cat --unit='aetherium*' | tail -n 40 >&2
    exit 1
}

same() {
    [[ $2 == "$3" ]] || fail "$1: expected $2, found $3"
}

ask() {
    curl --silent --show-error --fail --max-time 10 "$@"
}

# Asks again and again, for a minute, until a command succeeds.
eventually() {
    local deadline=$((SECONDS + 60))
    until "${@:2}"; do
        ((SECONDS < deadline)) || fail "waited in vain for $1"
        sleep 0.1
    done
}

main_pid() {
    systemctl show --property MainPID --value "$1"
}

# All files, except for what the system itself writes.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /srv/packaging \
        -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/systemd \
        -o -path '/etc/*-' -o -path /etc/.pwd.lock \) -prune -o -print | sort
    cat /etc/passwd /etc/group
}

echo "== installed"
files >/srv/packaging/before
dpkg --install "$package"
for unit in aetherium aetherium-agent; do
    same "$unit after the installation" inactive "$(systemctl is-active $unit || true)"
    same "$unit after the installation" disabled "$(systemctl is-enabled $unit || true)"
    same "the user $unit" "/usr/sbin/nologin" "$(getent passwd $unit | cut -d : -f 7)"
done
same "/etc/aetherium/server.env" "640 root" "$(stat --format '%a %U' /etc/aetherium/server.env)"
bash -n /usr/share/bash-completion/completions/aetherium
[[ -s /usr/share/man/man1/aetherium-serve.1.gz ]] || fail "no manual page"

echo "== units"
units=(/lib/systemd/system/aetherium.service /lib/systemd/system/aetherium-agent.service)
same "systemd-analyze verify" "" "$(systemd-analyze --man=no verify "${units[@]}" 2>&1 | grep -v "Unknown key 'Restart\(Steps\|MaxDelaySec\)'" || true)"
systemd-analyze security --offline=true --threshold=20 --no-pager "${units[@]}" >/srv/packaging/security || fail "$(cat /srv/packaging/security)"
grep "Overall exposure" /srv/packaging/security

echo "== started"
echo AETHERIUM_LOG=debug >>/etc/aetherium/server.env
# It is started when it answers: nothing here tries twice.
systemctl enable --now aetherium
same "/livez" ok "$(ask http://127.0.0.1:8080/livez)"
same "the user of the process" aetherium "$(stat --format %U "/proc/$(main_pid aetherium)")"
same "the state directory" "700 aetherium" "$(stat --format '%a %U' /var/lib/aetherium)"
same "the database" "600 aetherium" "$(stat --format '%a %U' /var/lib/aetherium/aetherium.db)"
listens=$(tail -n +2 /proc/net/tcp /proc/net/tcp6 | awk '$4 == "0A" { print $2 }' | grep ':1F90$')
same "what it listens on" 0100007F:1F90 "$listens"
worker='{"hostname": "node1.example.com", "address": "192.0.2.1:8081", "cpu_cores": 16, "memory_mb": 32768}'
ask --request PUT "$api/workers/worker-01" --header 'Content-Type: application/json' --data "$worker" >/dev/null

echo "== its log"
# The journal takes lines in when it comes to it.
journalctl --sync
journalctl --no-pager --quiet --output=cat --unit=aetherium _COMM=aetherium >/srv/packaging/log
grep -q '^{"timestamp":.*"Listening on' /srv/packaging/log || fail "no line of the server in the journal"
same "lines that are no JSON" "" "$(grep -v '^{"timestamp":".*}$' /srv/packaging/log || true)"
same "escape sequences" "" "$(grep -P '\x1b' /srv/packaging/log || true)"
# Into a file: in a pipe, `grep -q` ends at its first match, and journalctl, which still writes, would fail.
journalctl --no-pager --quiet --output=json --unit=aetherium _COMM=aetherium >/srv/packaging/log.json
grep -q '"PRIORITY":"7"' /srv/packaging/log.json || fail "lines of debug have no priority of their own"

echo "== restarted"
pid=$(main_pid aetherium)
systemctl restart aetherium
[[ $(main_pid aetherium) != "$pid" ]] || fail "it was not restarted"
ask "$api/workers/worker-01" | grep -q node1.example.com || fail "a restart has lost a worker"
systemctl reload aetherium
same "after a reload" active "$(systemctl is-active aetherium)"

echo "== the agent"
cat >>/etc/aetherium/agent.env <<'SETTINGS'
AETHERIUM_SERVER=http://127.0.0.1:8080
AETHERIUM_AGENT_ID=this-host
# This container is the worker.
AETHERIUM_AGENT_PROC=/proc
SETTINGS
# A process of another user, as the agent would find a hypervisor.
(exec -a qemu-system-x86_64 bash -c 'sleep 600; :' -uuid 6f1c5f0e-8a8e-4d5c-9f0e-0b6a35a3c0de -m 512 -smp 2) &
hypervisor=$!
systemctl start aetherium-agent
sees_vm() { ask "$api/workers/this-host/vms" 2>/dev/null | grep -q 6f1c5f0e-8a8e-4d5c-9f0e-0b6a35a3c0de; }
eventually "the VM in the agent's report" sees_vm
same "the user of the agent" aetherium-agent "$(stat --format %U "/proc/$(main_pid aetherium-agent)")"
disk=$(ask "$api/workers/this-host" | grep -o '"disk_gb":[0-9]*' | cut -d : -f 2)
((disk > 0)) || fail "the agent sees no disk"

echo "== upgraded"
echo '# A change of the operator.' >>/etc/aetherium/server.env
pid=$(main_pid aetherium) agent=$(main_pid aetherium-agent)
dpkg --install "$package"
[[ $(main_pid aetherium) != "$pid" ]] || fail "the upgrade has not restarted the server"
[[ $(main_pid aetherium-agent) != "$agent" ]] || fail "the upgrade has not restarted the agent"
ask "$api/workers/worker-01" | grep -q node1.example.com || fail "the upgrade has lost a worker"
grep -q 'A change of the operator' /etc/aetherium/server.env || fail "the upgrade has lost a setting"

echo "== it hangs"
mkdir /etc/systemd/system/aetherium.service.d
printf '[Service]\nWatchdogSec=5\n' >/etc/systemd/system/aetherium.service.d/test.conf
systemctl daemon-reload
systemctl restart aetherium
pid=$(main_pid aetherium)
kill -STOP "$pid"
is_another() { local now; now=$(main_pid aetherium) && [[ $now != "$pid" && $now != 0 ]] && ask http://127.0.0.1:8080/livez >/dev/null 2>&1; }
eventually "another process in place of the one that hung" is_another
rm -r /etc/systemd/system/aetherium.service.d
systemctl daemon-reload

echo "== its first token"
runuser -u aetherium -- aetherium token create --role admin --name alice --database-url sqlite:///var/lib/aetherium/aetherium.db >/srv/packaging/alice.token
wants_a_token() { [[ $(curl --silent --output /dev/null --write-out '%{http_code}' "$api/workers") == 401 ]]; }
eventually "the question for a token" wants_a_token
ask --header "Authorization: Bearer $(cat /srv/packaging/alice.token)" "$api/workers" >/dev/null

echo "== removed"
kill "$hypervisor"
dpkg --remove aetherium
for unit in aetherium aetherium-agent; do
    same "$unit after the removal" inactive "$(systemctl is-active $unit || true)"
done
[[ -s /var/lib/aetherium/aetherium.db && -s /etc/aetherium/server.env ]] || fail "data or settings went with the program"

echo "== purged while its folder is a mount point and a process runs as its user"
mount --bind /var/lib/aetherium /var/lib/aetherium
runuser -u aetherium -- sleep 600 &
at_work() { pgrep --uid aetherium --exact sleep >/dev/null; }
eventually "a process of the user" at_work
dpkg --purge aetherium || fail "it cannot be purged"
same "what is left in the folder" "" "$(ls -A /var/lib/aetherium)"
same "the state of the package" "" "$(dpkg-query --show --showformat '${Status}' aetherium 2>/dev/null || true)"
kill "$(pgrep --uid aetherium --exact sleep)"
umount /var/lib/aetherium

echo "== purged"
dpkg --install "$package"
dpkg --purge aetherium
files >/srv/packaging/after
same "what is left" "" "$(diff /srv/packaging/before /srv/packaging/after || true)"
echo "== done"
