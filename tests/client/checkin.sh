#!/bin/sh
# A node's check-in in POSIX shell, awk, openssl and curl, written from docs/protocol.md alone.
#
#   checkin.sh URL NODE_ID KEY_FILE [NODE_IP]
#
# KEY_FILE holds NODE_KEY in base64. Prints the members of the node's configuration as path=text, and reports
# the run level "boot". Exit status: 0 done, 1 no usable answer, 2 wrong usage, 3 the server refuses, 4 an
# answer that was not made by this node's server. No secret is ever an argument of a program.
set -eu
umask 077
export LC_ALL=C

[ $# -ge 3 ] || { echo "usage: checkin.sh URL NODE_ID KEY_FILE [NODE_IP]" >&2; exit 2; }
url=${1%/} node=$2 key_file=$3 ip=${4:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { status=$1; shift; echo "checkin: $*" >&2; exit "$status"; }

# --- canonical form ---

cat > "$work/canonical.awk" <<'AWK'
# Reads an XML-RPC body. ask=canonical: prints the canonical form of the list of its values, or of the member
# `want` of the first one, which is a struct. ask=text: prints that member's text. ask=show: path=text of all.
function item(tag, text) { return tag length(text) ":" text }
function fail(why) { print "canonical: " why > "/dev/stderr"; broken = 1; exit 4 }
function character(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, \
        128 + int(code / 64) % 64, 128 + code % 64)
}
function hexadecimal(text,   i, n) {
    for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
    return n
}
function unescaped(text,   out, at, end, name) {
    while (at = index(text, "&")) {
        end = index(text, ";")
        name = substr(text, at + 1, end - at - 1)
        out = out substr(text, 1, at - 1)
        if (name == "amp") out = out "&"
        else if (name == "lt") out = out "<"
        else if (name == "gt") out = out ">"
        else if (name == "quot") out = out "\""
        else if (name == "apos") out = out "'"
        else if (name ~ /^#x[0-9A-Fa-f]+$/) out = out character(hexadecimal(substr(name, 3)))
        else if (name ~ /^#[0-9]+$/) out = out character(substr(name, 2) + 0)
        else fail("an entity")
        text = substr(text, end + 1)
    }
    return out text
}
function path(   i, out) {
    for (i = 2; i <= depth; i++) out = out (i > 2 ? "." : "") (kind[i] == "m" ? key[i] : count[i])
    return out
}
function add() {
    if (ask == "show" && !grown) print path() "=" text
    if (depth == 2 && kind[2] == "m" && key[2] == want) { found = value; found_text = text; seen = 1 }
    if (kind[depth] == "m") {
        if ((depth, key[depth]) in member) fail("a key twice")
        name[depth, count[depth]] = key[depth]
        member[depth, key[depth]] = value
    } else list[depth] = list[depth] value
    count[depth]++
}
function push(what) { if (++depth > 33) fail("too deep"); kind[depth] = what; count[depth] = 0; list[depth] = "" }
function pop(   i, j, k) {
    value = kind[depth] count[depth] ":"
    if (kind[depth] == "l") value = value list[depth]
    else for (i = 0; i < count[depth]; i++) {
        # The smallest key that is left, by its bytes.
        k = -1
        for (j = 0; j < count[depth]; j++)
            if ((depth, j) in name && (k < 0 || (name[depth, j] "") < (name[depth, k] ""))) k = j
        value = value item("s", name[depth, k]) member[depth, name[depth, k]]
        delete member[depth, name[depth, k]]
        delete name[depth, k]
    }
    depth--
    typed = grown = 1
}
function open(tag, text_after) {
    leaf = text_after
    if (tag == "value") typed = grown = 0
    else if (tag == "array" || tag == "params") push("l")
    else if (tag == "struct") push("m")
    else if (tag == "fault") { faulty = 1; push("l") }
}
function close_(tag) {
    text = unescaped(leaf)
    if (tag == "name") key[depth] = text
    else if (tag == "int" || tag == "i4" || tag == "i8") {
        if (text !~ /^-?(0|[1-9][0-9]*)$/) fail("no integer")
        value = item("i", text); typed = 1
    } else if (tag == "boolean") { value = item("b", text); typed = 1 }
    else if (tag == "string") { value = item("s", text); typed = 1 }
    else if (tag == "nil") { value = "n0:"; text = ""; typed = 1 }
    else if (tag == "double" || tag == "base64") fail("no reply holds a " tag)
    else if (tag == "array" || tag == "struct" || tag == "params" || tag == "fault") pop()
    else if (tag == "value") { if (!typed) value = item("s", text); add(); typed = 1 }
}
BEGIN { RS = "<" }
NR == 1 { next }
{
    end = index($0, ">")
    tag = substr($0, 1, end - 1)
    if (tag ~ /^!/) fail("a document type or comment")
    if (tag ~ /^\?/) next
    if (tag ~ /^\//) close_(substr(tag, 2))
    else if (tag ~ /\/$/) { open(substr(tag, 1, length(tag) - 1), ""); close_(substr(tag, 1, length(tag) - 1)) }
    else open(tag, substr($0, end + 1))
}
END {
    if (broken) exit 4
    if (depth != 0) exit 4
    if (faulty) exit 3
    if (want != "" && !seen) exit 4
    if (ask == "canonical") printf "%s", (want != "" ? found : value)
    if (ask == "text") printf "%s", found_text
}
AWK
read_xml() { awk -v ask="$1" -v want="$2" -f "$work/canonical.awk" "$3"; }
text_item() { printf 's%d:%s' "${#1}" "$1"; }
number_item() { printf 'i%d:%s' "${#1}" "$1"; }

# --- HMAC and HKDF, of SHA-256 alone, because openssl takes keys as arguments only ---

digest() { openssl dgst -sha256 -r | cut -c1-64; }

# hmac KEY_HEX (at most 64 bytes) FILE
hmac() {
    rest=$1 inner='' outer=''
    while [ ${#rest} -lt 128 ]; do rest="${rest}00"; done
    while [ -n "$rest" ]; do
        byte=${rest%"${rest#??}"}
        rest=${rest#??}
        i=$((0x$byte ^ 0x36)) o=$((0x$byte ^ 0x5c))
        inner="$inner\\$((i >> 6))$((i >> 3 & 7))$((i & 7))"
        outer="$outer\\$((o >> 6))$((o >> 3 & 7))$((o & 7))"
    done
    { printf "$inner"; cat "$2"; } | openssl dgst -sha256 -binary > "$work/inner"
    { printf "$outer"; cat "$work/inner"; } | digest
}

# --- calls ---

post() {
    curl --silent --show-error --fail --max-time 60 --max-filesize 4194304 --proto =http,https \
        --header 'Content-Type: text/xml' --data-binary "@$1" --output "$2" "$url/PLCAPI/" || fail 1 "no answer"
    read_xml check '' "$2" || fail $? "the answer to $3 is a fault, or none of this node's server"
}

open_session() {
    client_nonce=$(openssl rand -hex 32)
    printf '<?xml version="1.0"?><methodCall><methodName>OpenSession</methodName><params><param><value><struct>%s%s</struct></value></param></params></methodCall>' \
        "<member><name>node_id</name><value><int>$node</int></value></member>" \
        "<member><name>nonce</name><value><string>$client_nonce</string></value></member>" > "$work/call"
    post "$work/call" "$work/reply" OpenSession
    session=$(read_xml text session "$work/reply")
    nonce=$(read_xml text nonce "$work/reply")
    now=$(read_xml text time "$work/reply")

    openssl base64 -d -A < "$key_file" > "$work/node_key"
    { printf 'l2:'; text_item "$client_nonce"; text_item "$nonce"; } > "$work/salt"
    # A key longer than 64 bytes enters HMAC as its hash.
    extracted=$(hmac "$(digest < "$work/salt")" "$work/node_key")
    printf 'bootmanager session 1 node %s session %s\001' "$node" "$session" > "$work/info"
    session_key=$(hmac "$extracted" "$work/info")

    { printf 'l6:'; text_item open; text_item "$session"; number_item "$node"; text_item "$client_nonce"
      text_item "$nonce"; number_item "$now"; } > "$work/signed"
    [ "$(hmac "$session_key" "$work/signed")" = "$(read_xml text value "$work/reply")" ] \
        || fail 3 "the server and this node do not share a key"
    counter=0
}

# call METHOD PARAMS: PARAMS are <param> elements
call() {
    counter=$((counter + 1))
    printf '<params>%s</params>' "$2" > "$work/params"
    { printf 'l7:'; text_item call; text_item "$1"; number_item "$node"; text_item "$ip"; text_item "$session"
      number_item "$counter"; read_xml canonical '' "$work/params"; } > "$work/signed"
    call_mac=$(hmac "$session_key" "$work/signed")
    {
        printf '<?xml version="1.0"?><methodCall><methodName>%s</methodName><params><param><value><struct>' "$1"
        printf '<member><name>AuthMethod</name><value><string>hmac-sha256</string></value></member>'
        printf '<member><name>node_id</name><value><int>%s</int></value></member>' "$node"
        printf '<member><name>node_ip</name><value><string>%s</string></value></member>' "$ip"
        printf '<member><name>session</name><value><string>%s</string></value></member>' "$session"
        printf '<member><name>counter</name><value><int>%s</int></value></member>' "$counter"
        printf '<member><name>value</name><value><string>%s</string></value></member>' "$call_mac"
        printf '</struct></value></param>%s</params></methodCall>' "$2"
    } > "$work/call"
    post "$work/call" "$work/reply" "$1"
    now=$(read_xml text time "$work/reply")
    { printf 'l6:'; text_item reply; text_item "$session"; number_item "$counter"; text_item "$call_mac"
      read_xml canonical result "$work/reply"; number_item "$now"; } > "$work/signed"
    [ "$(hmac "$session_key" "$work/signed")" = "$(read_xml text value "$work/reply")" ] \
        || fail 4 "the reply to $1 is not from this node's server"
}

open_session
call BootGetNodeDetails ''
read_xml show '' "$work/reply"
call ReportRunlevel '<param><value><struct><member><name>run_level</name><value><string>boot</string></value></member></struct></value></param>'
