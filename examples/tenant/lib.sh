# shellcheck shell=sh
# What the tenant's activities share. Each script sources this file, does its work, and prints one JSON object.
#
# Exit codes are those of the agent's exec processor: 0 complete, 75 try again later, anything else is final.

LC_ALL=C
export LC_ALL

# The folder that everything is written below; paths in outputs are relative to it.
out=${TENANT_OUT:-$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/out}
mode=${UNISONO_DISCRIMINATOR:-deploy}

log() {
    printf '%s\n' "$*" >&2
}

fatal() {
    log "error: $*"
    exit 1
}

# For trouble that can pass by itself: a full disk, a share that is away, a folder that a dispose just removed.
retry() {
    log "will be tried again: $*"
    exit 75
}

unknown_mode() {
    fatal "the discriminator is \"$mode\"; this activity knows deploy and dispose"
}

# name INPUT VALUE: refuses what could leave its folder or break out of quotes, whoever started the activity.
name() {
    case $2 in
        '') fatal "the input \"$1\" is missing" ;;
        .* | *..* | *[!a-z0-9.:-]*) fatal "the input \"$1\" is \"$2\"; a-z 0-9 . : - are allowed, and no dot first or twice" ;;
    esac
}

# given INPUT VALUE: refuses an input that is missing or has characters that would need escaping.
given() {
    case $2 in
        '') fatal "the input \"$1\" is missing" ;;
        *[!A-Za-z0-9._~:/%-]*) fatal "the input \"$1\" is \"$2\"; A-Z a-z 0-9 . _ ~ : / % - are allowed" ;;
    esac
}

# member KEY OBJECT: the text of one member of a JSON object as it stands there; nothing when it is absent.
member() {
    printf '%s\n' "$2" | awk -v want="$1" '
        { text = text $0 "\n" }
        END {
            end = length(text)
            for (i = 1; i <= end; i++) {
                c = substr(text, i, 1)
                if (c == "\"") {
                    start = i + 1
                    for (i++; i <= end && (c = substr(text, i, 1)) != "\""; i++) if (c == "\\") i++
                    if (depth == 1) string = substr(text, start, i - start)
                } else if (c == "{" || c == "[") {
                    depth++
                } else if (c == ":" && depth == 1) {
                    key = string
                    value = i + 1
                } else {
                    if ((c == "," || c == "}") && depth == 1 && key == want) found = substr(text, value, i - value)
                    if (c == "}" || c == "]") depth--
                }
            }
            gsub(/^[ \t\r\n]+|[ \t\r\n]+$/, "", found)
            printf "%s", found
        }'
}

# text_member KEY OBJECT: the same for a string, without its quotes.
text_member() {
    value=$(member "$1" "$2")
    value=${value#\"}
    printf '%s' "${value%\"}"
}

# write FILE: puts standard input there whole or not at all, and leaves a file alone that already says the same.
write() {
    folder=$out/$(dirname -- "$1")
    temporary=$folder/.$(basename -- "$1").${UNISONO_ATTEMPT:-0}.$$.tmp
    mkdir -p -- "$folder" || retry "cannot create the folder $folder"
    trap 'rm -f -- "$temporary"' EXIT
    trap 'exit 75' HUP INT TERM
    cat > "$temporary" || retry "cannot write $temporary"
    if cmp -s -- "$temporary" "$out/$1"; then
        log "unchanged: $out/$1"
    else
        mv -f -- "$temporary" "$out/$1" || retry "cannot write $out/$1"
        log "wrote: $out/$1"
    fi
}

# remove FILE: takes it away with what a killed attempt left beside it and the folders that are empty then.
remove() {
    folder=$out/$(dirname -- "$1")
    if [ -e "$out/$1" ]; then
        rm -f -- "$out/$1" || retry "cannot remove $out/$1"
        log "removed: $out/$1"
    else
        log "already gone: $out/$1"
    fi
    rm -f -- "$folder/.$(basename -- "$1")".*.tmp || retry "cannot tidy $folder"
    while [ "$folder" != "$out" ] && rmdir -- "$folder" 2> /dev/null; do
        folder=$(dirname -- "$folder")
    done
}

# checksum: the CRC and the size of standard input, as one word.
checksum() {
    sum=$(cksum) || fatal 'cannot run cksum'
    printf '%s' "${sum% *}-${sum#* }"
}
