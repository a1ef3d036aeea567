#!/bin/bash
#
# What the image's program goes through in a container runtime: it is process 1 of nobody in particular, can write into its
# volume only, becomes healthy, asks callers for the token it has made, and ends in order when it is told to. Run by
# harness/machine.mjs in a network namespace of its own:
#
#   life-of-a-container.sh ROOT NAME=VALUE... -- HEALTH CHECK... -- COMMAND...
set -euo pipefail

root=$1 && shift
settings=()
health=()
while [[ $1 != -- ]]; do
    settings+=("--setenv=$1") && shift
done
shift
while [[ $1 != -- ]]; do
    health+=("$1") && shift
done
shift

work=$(mktemp -d)
container=
leave() {
    [[ -z $container ]] || kill -KILL "$container" 2>/dev/null || true
    rm -rf -- "$work"
}
trap leave EXIT

fail() {
    echo "FAILED: $*" >&2
    tail -n 40 "$work/log" >&2
    exit 1
}

ip link set lo up
echo 'nonroot:x:65532:65532::/var/lib/aetherium:/usr/sbin/nologin' >>"$root/etc/passwd"
install -d -m 700 -o 65532 -g 65532 "$work/state" "$root/var/lib/aetherium"

echo "== started"
systemd=()
[[ -e /run/systemd/system ]] || systemd=(--keep-unit)
systemd-nspawn --quiet --register=no "${systemd[@]}" --console=pipe --directory="$root" --read-only --user=nonroot \
    --chdir=/var/lib/aetherium --bind="$work/state:/var/lib/aetherium" "${settings[@]}" "$@" >"$work/log" 2>&1 </dev/null &
container=$!

echo "== healthy"
# The program of the root, and its network, are those of the container.
deadline=$((SECONDS + 60))
until "$root${health[0]}" "${health[@]:1}" >"$work/health" 2>&1; do
    ((SECONDS < deadline)) && kill -0 "$container" 2>/dev/null || fail "it does not become healthy: $(cat "$work/health")"
    sleep 0.1
done

echo "== asks for its token, over TLS"
address=https://localhost:8080/api/v1/workers
ask() {
    curl --silent --show-error --insecure --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"
}
[[ $(ask "$address") == 401 ]] || fail "it does not ask for a token"
token=$(cat "$work/state/admin.token")
[[ $(ask --header "Authorization: Bearer $token" "$address") == 200 ]] || fail "it does not accept its token"
[[ $(stat --format '%a %u' "$work/state/admin.token") == "600 65532" ]] || fail "others may read its token"
grep -q 'sha256:' "$work/log" || fail "the fingerprint of its certificate is not in its log"

echo "== ended"
first=$(cat "/proc/$container/task/$container/children" | tr -d ' ')
while [[ $(readlink "/proc/$first/exe") != */aetherium ]]; do
    first=$(tr -d ' ' <"/proc/$first/task/$first/children")
done
grep -q $'^NSpid:.*\t1$' "/proc/$first/status" || fail "it is not process 1"
started=$SECONDS
kill -TERM "$first"
status=0
wait "$container" || status=$?
container=
[[ $status == 0 ]] || fail "it ended with $status"
((SECONDS - started < 15)) || fail "it took $((SECONDS - started)) s to end"
grep -q '"message":"Stopped"' "$work/log" || fail "it did not end in order"
echo "== done"
