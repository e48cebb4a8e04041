#!/bin/sh
# Routes the tenant's domain to its cell: a manifest for `kubectl apply -f`. A Service names the cell, an Ingress sends
# the domain there, and another one sends the DID document's path to the Service `web-did`, which serves the folder web/.
set -eu
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"

cell=${UNISONO_INPUT_CELL:-}
tenant=${UNISONO_INPUT_TENANTNAME:-}
domain=${UNISONO_INPUT_DOMAIN:-}
name cell "$cell"
name tenantName "$tenant"
name domain "$domain"
file=cells/$cell/ingress/$tenant.yaml

# Splits the cell's base URL into what a Service and an Ingress want.
upstream() {
    case $base_url in
        https://*) protocol=HTTPS port=443 ;;
        http://*) protocol=HTTP port=80 ;;
        *) fatal "the input \"baseUrl\" is \"$base_url\"; it begins with https:// or http://" ;;
    esac
    authority=${base_url#*://}
    name baseUrl "$authority"
    case $authority in *:*) port=${authority##*:} ;; esac
    case $port in '' | *[!0-9]*) fatal "the input \"baseUrl\" is \"$base_url\"; its port is no number" ;; esac
}

# An Ingress knows hosts without their ports; did:web asks for TLS.
ingress() {
    cat <<END
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: "$1"
  labels:
    tenant.example.com/name: "$tenant"
    tenant.example.com/cell: "$cell"
  annotations:
    tenant.example.com/did: "$did"
    tenant.example.com/base-url: "$base_url"
    tenant.example.com/configuration: "$configuration"
    nginx.ingress.kubernetes.io/backend-protocol: "$2"
END
    [ "$5" = web-did ] || printf '    nginx.ingress.kubernetes.io/upstream-vhost: "%s"\n' "$authority"
    cat <<END
spec:
  tls:
    - hosts: ["${domain%%:*}"]
      secretName: "${domain%%:*}-tls"
  rules:
    - host: "${domain%%:*}"
      http:
        paths:
          - path: "$3"
            pathType: $4
            backend:
              service:
                name: "$5"
                port:
                  number: $6
END
}

manifest() {
    cat <<END
apiVersion: v1
kind: Service
metadata:
  name: "tenant-$tenant"
  labels:
    tenant.example.com/name: "$tenant"
    tenant.example.com/cell: "$cell"
spec:
  type: ExternalName
  externalName: "${authority%%:*}"
  ports:
    - port: $port
END
    ingress "tenant-$tenant" "$protocol" "$prefix" Prefix "tenant-$tenant" "$port"
    ingress "tenant-$tenant-did" HTTP "$did_path" Exact web-did 80
}

case $mode in
    deploy)
        base_url=${UNISONO_INPUT_BASEURL:-}
        did_path=${UNISONO_INPUT_DIDPATH:-}
        prefix=${UNISONO_INPUT_PREFIX:-}
        configuration=${UNISONO_INPUT_CONFIGURATION:-}
        given baseUrl "$base_url"
        given didPath "$did_path"
        given prefix "$prefix"
        given configuration "$configuration"
        # The activity `did` left the identifier in the context that all activities of an orchestration share.
        did=$(text_member did "${UNISONO_CONTEXT:-}")
        [ -n "$did" ] || fatal 'the context has no key "did"; the activity that runs did.sh must come first (dependsOn)'
        given did "$did"
        upstream
        manifest | write "$file"
        printf '{"state":"present","file":"%s","url":"https://%s"}\n' "$file" "$domain$prefix"
        ;;
    dispose)
        remove "$file"
        printf '{"state":"absent","file":"%s"}\n' "$file"
        ;;
    *) unknown_mode ;;
esac
