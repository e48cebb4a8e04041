#!/usr/bin/env bash
# A fleet of simulated machines, each a process of its own: a good version that completes, and a bad one that goes back by
# itself. Needs the `unisono` command only; UNISONO names another one, TARGETS how many machines there are (8).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export UNISONO=${UNISONO:-unisono}
data=$(mktemp -d)
trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$data"' EXIT

"$UNISONO" server --data "$data/server" --listen 127.0.0.1:0 >"$data/out" 2>"$data/log" &
for _ in $(seq 100); do
  UNISONO_SERVER=$(sed -n 's/^listening on //p' "$data/out")
  [[ -z $UNISONO_SERVER ]] || break
  sleep 0.1
done
export UNISONO_SERVER
[[ -n $UNISONO_SERVER ]] || { cat "$data/log"; exit 1; }

zones=(a b c)
for ((number = 1; number <= ${TARGETS:-8}; number++)); do
  "$here/target.sh" "host-$number" "${zones[number % 3]}" &
done
# All of them have reported.
until [[ $("$UNISONO" rollout targets shop --output json 2>/dev/null | grep -c '"name"') -ge ${TARGETS:-8} ]]; do sleep 0.2; done

"$UNISONO" rollout set shop --file "$here/policy.yaml"
echo; echo "== v1, which they run already, becomes the last known good version"
"$UNISONO" rollout version shop v1
"$UNISONO" rollout watch shop
echo; echo "== v2 is good, and reaches everyone"
"$UNISONO" rollout version shop v2
"$UNISONO" rollout watch shop
echo; echo "== \"bad\" makes machines sick: it stops at the canary, and goes back to v2"
"$UNISONO" rollout version shop bad
if "$UNISONO" rollout watch shop; then
  echo "the bad version was not noticed"
  exit 1
fi
"$UNISONO" rollout targets shop
"$UNISONO" rollout versions shop
