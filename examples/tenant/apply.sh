#!/bin/sh
# Puts the staged configuration in force: one rename, so that the cell reads the old one or the new one.
set -eu
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"

cell=${UNISONO_INPUT_CELL:-}
tenant=${UNISONO_INPUT_TENANTNAME:-}
name cell "$cell"
name tenantName "$tenant"
file=cells/$cell/applied/$tenant.json

# holds FILE: whether it is the configuration that this orchestration staged.
holds() {
    [ -e "$out/$1" ] && [ "$(checksum < "$out/$1")" = "$checksum" ]
}

# An earlier attempt may have been lost after its rename: then the staged file is gone and the applied one is right.
deploy() {
    if holds "$staged"; then
        mkdir -p -- "$out/cells/$cell/applied" || retry "cannot create the folder $out/cells/$cell/applied"
        mv -f -- "$out/$staged" "$out/$file" || retry "cannot move $out/$staged to $out/$file"
        log "applied: $out/$file"
    elif holds "$file"; then
        log "already applied: $out/$file"
    elif [ -e "$out/$staged" ]; then
        fatal "$out/$staged was changed after it was staged (its checksum is not $checksum); start the deployment again"
    else
        fatal "$out/$staged is gone and was not applied; start the deployment again"
    fi
}

case $mode in
    deploy)
        staged=${UNISONO_INPUT_STAGED:-}
        checksum=${UNISONO_INPUT_CHECKSUM:-}
        given staged "$staged"
        given checksum "$checksum"
        [ "$staged" = "cells/$cell/staged/$tenant.json" ] || fatal "the input \"staged\" is \"$staged\", which is not this tenant's"
        deploy
        printf '{"state":"present","file":"%s","checksum":"%s"}\n' "$file" "$checksum"
        ;;
    dispose)
        remove "$file"
        printf '{"state":"absent","file":"%s"}\n' "$file"
        ;;
    *) unknown_mode ;;
esac
