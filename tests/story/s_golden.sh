#!/usr/bin/env bash
# Stores of every released format open for ever: each folder of tests/golden is copied, read and
# compared with what was put into it when it was made. The originals are never written.
# TIMEOUT: 120
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
larder=${LARDER:-$top/.build/release/larder}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
golden=$top/tests/golden/v1
n=0

try() # a sentence, then a command
{
	local says=$1
	shift
	n=$((n + 1))
	if "$@" >"$work/out" 2>&1; then
		echo "ok $n - $says"
	else
		echo "not ok $n - $says"
		sed 's/^/# /' "$work/out" | head -n 20
	fi
}

listed()
{
	"$larder" -S "$work/store" log cookbooks/sample --json | grep -v '"done"' |
		sed -e 's/"gid":"[0-9a-f]*"//' | diff - "$golden/log.json"
}

restored() # version, manifest
{
	"$larder" -S "$work/store" get "cookbooks/sample@$1" "$work/v$1" || return 1
	python3 "$top/tests/golden/manifest.py" "$work/v$1" | diff - "$golden/manifest.$1"
}

bytes() # name, sha256
{
	local got
	got=$("$larder" -S "$work/store" get "$1" - | sha256sum | cut -d' ' -f1)
	[ "$got" = "$2" ] || { echo "$1: $got"; return 1; }
}

untouched()
{
	(cd "$golden/plain" && sha256sum -c --quiet ../SHA256SUMS)
}

grows()
{
	echo more | "$larder" -S "$work/store" put files/small - && bytes files/small \
		"$(echo more | sha256sum | cut -d' ' -f1)"
}

gone()
{
	"$larder" -S "$work/store" get files/gone -
	[ $? = 3 ]
}

cp -a "$golden/plain" "$work/store"
# git keeps no empty folders
mkdir -p "$work/store"/{tmp,trash} "$work"/store/packs/{0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f}{0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f}
echo 1..9
try 'the golden store is as it was made' untouched
try 'a store of format 1 is clean, every byte of it' "$larder" -S "$work/store" check --read
try 'its versions are listed as they were' listed
try 'its first version comes back, attributes and all' restored 1
try 'its second version comes back, deltas and all' restored 2
try 'a stream comes back' bytes files/stream "$(cat "$golden/stream.sha256")"
try 'what was forgotten stays forgotten' gone
try 'it can be written to' grows
try 'nothing of it was rewritten' untouched
