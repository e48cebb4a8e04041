#!/bin/sh
# Stages the tenant's configuration for its cell: complete, but not in force.
set -eu
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"

cell=${UNISONO_INPUT_CELL:-}
tenant=${UNISONO_INPUT_TENANTNAME:-}
name cell "$cell"
name tenantName "$tenant"
file=cells/$cell/staged/$tenant.json

# The tenant's metadata is JSON already and goes in as it is.
configuration() {
    cat <<END
{
  "cell": "$cell",
  "baseUrl": "$base_url",
  "domain": "$domain",
  "tenant": $metadata
}
END
}

case $mode in
    deploy)
        domain=${UNISONO_INPUT_DOMAIN:-}
        base_url=${UNISONO_INPUT_BASEURL:-}
        metadata=${UNISONO_INPUT_TENANT:-}
        name domain "$domain"
        given baseUrl "$base_url"
        [ -n "$metadata" ] || fatal 'the input "tenant" is missing'
        checksum=$(configuration | checksum)
        configuration | write "$file"
        printf '{"state":"present","file":"%s","checksum":"%s"}\n' "$file" "$checksum"
        ;;
    dispose)
        remove "$file"
        printf '{"state":"absent","file":"%s"}\n' "$file"
        ;;
    *) unknown_mode ;;
esac
