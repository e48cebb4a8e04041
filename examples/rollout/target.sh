#!/usr/bin/env bash
# One simulated machine: target.sh NAME ZONE. It says twice a second what it runs and how it is, and takes what it is told.
# On version "bad" it is not well.
set -euo pipefail
name=$1 zone=$2 runs=v1
while sleep 0.5; do
  health=healthy
  [[ $runs != bad ]] || health=unhealthy
  # A server that is away for a moment is asked again.
  told=$("$UNISONO" rollout report shop "$name=$runs" --health "$health" --label "zone=$zone" --output json 2>/dev/null) || continue
  version=$(sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' <<<"$told" | head -1)
  [[ -z $version ]] || runs=$version
done
