#!/bin/sh
# Publishes the tenant's Web DID: a DID document in the place where a did:web resolver looks for it.
#
# The rules: https://w3c-ccg.github.io/did-method-web/ and https://www.w3.org/TR/did-core/.
set -eu
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"

domain=${UNISONO_INPUT_DOMAIN:-}
tenant=${UNISONO_INPUT_TENANTNAME:-}
metadata=${UNISONO_INPUT_TENANT:-}
name domain "$domain"
name tenantName "$tenant"

# A port is percent-encoded, path segments are joined by colons; without a path the document is well known.
did=did:web:$(printf '%s' "$domain" | sed 's/:/%3A/')
prefix=/
path=/.well-known/did.json
segments=$(text_member path "$metadata")
if [ -n "$segments" ]; then
    case /$segments/ in *//*) fatal "tenant.path is \"$segments\"; it is names joined by single slashes" ;; esac
    name tenant.path "$(printf '%s' "$segments" | tr / -)"
    did=$did:$(printf '%s' "$segments" | tr / :)
    prefix=/$segments
    path=$prefix/did.json
fi
file=web/$domain$path
service=$did#tenant:$tenant

# Whether the document that lies there is another tenant's.
foreign() {
    [ -e "$out/$file" ] && ! grep -qF "\"id\": \"$service\"" "$out/$file"
}

# The tenant's public key, when it gave one: it may sign in the tenant's name.
key_context=
key_methods=
key() {
    jwk=$(member publicKeyJwk "$metadata")
    [ -n "$jwk" ] || return 0
    [ -z "$(member d "$jwk")" ] || fatal "tenant.publicKeyJwk has the member \"d\": that is the private key, keep it secret"
    kid=$(text_member kid "$jwk")
    given tenant.publicKeyJwk.kid "${kid:=key-1}"
    key_context=',
    "https://w3id.org/security/suites/jws-2020/v1"'
    key_methods="
  \"verificationMethod\": [
    {
      \"id\": \"$did#$kid\",
      \"type\": \"JsonWebKey2020\",
      \"controller\": \"$did\",
      \"publicKeyJwk\": $jwk
    }
  ],
  \"authentication\": [\"$did#$kid\"],
  \"assertionMethod\": [\"$did#$kid\"],"
}

document() {
    cat <<END
{
  "@context": [
    "https://www.w3.org/ns/did/v1"$key_context
  ],
  "id": "$did",$key_methods
  "service": [
    {
      "id": "$service",
      "type": "https://example.com/ns#TenantApplication",
      "serviceEndpoint": "https://$domain$prefix"
    }
  ]
}
END
}

case $mode in
    deploy)
        state=present
        if foreign; then
            fatal "$out/$file is the DID of another tenant; dispose that one first, or set tenant.path to share the domain"
        fi
        key
        document | write "$file"
        printf '{"set":{"did":"%s"}}\n' "$did" > "${UNISONO_CONTEXT_PATCH:-/dev/null}"
        ;;
    dispose)
        state=absent
        if foreign; then
            log "left alone, it is the DID of another tenant: $out/$file"
        else
            remove "$file"
        fi
        ;;
    *) unknown_mode ;;
esac

printf '{"state":"%s","did":"%s","url":"https://%s","path":"%s","prefix":"%s","file":"%s"}\n' \
    "$state" "$did" "$domain$path" "$path" "$prefix" "$file"
