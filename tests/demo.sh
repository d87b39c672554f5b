#!/usr/bin/env bash
# make demo: the main job on real input, with the proof that what came out is what went in.
#
# Takes in two versions of a real tree: Debian's Puppet modules and kernel headers, fetched with apt-get
# download (ESTATE=folder: that folder instead; offline: a part of this machine's /usr/share). Everything
# happens in a temporary folder, which is removed at the end. Root or not makes no difference.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
LARDER=$(realpath "${LARDER:-${BUILD:-$root/.build}/release/larder}")
work=$(mktemp -d "${TMPDIR:-/tmp}/larder-demo-XXXXXX")
cleanup() {
	chmod -R u+rwX "$work" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
export LARDER_STORE=$work/store XDG_CONFIG_HOME=$work/config
unset LARDER_CONFIG LARDER_INDEX_DIR LARDER_JOBS LARDER_THREADS
cd "$work"

say() { printf '%s\n' "$*"; }
heading() { printf '\n== %s\n' "$*"; }
fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# ---- input: the folders v1 and v2, two versions of one tree ----

apt_options=()

fetch() { # fetch FOLDER PACKAGE...
	local folder=$1
	shift
	mkdir -p "$folder"
	(cd "$folder" && timeout 300 apt-get -qq "${apt_options[@]}" download "$@" >/dev/null 2>&1)
}

# The system's package lists; where there are none, lists of our own, so that nothing of the system changes.
find_lists() {
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
	apt-cache show puppet-module-puppetlabs-stdlib >/dev/null 2>&1 && return
	mkdir -p lists/partial cache/archives/partial
	apt_options=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=)
	timeout 120 apt-get -qq "${apt_options[@]}" update >/dev/null 2>&1
}

unpack() { # unpack VERSION FOLDER DEB...
	local into=$1/$2 deb
	shift 2
	mkdir -p "$into"
	for deb in "$@"; do dpkg-deb -x "$deb" "$into"; done
}

real_packages() {
	local modules headers
	find_lists || return 1
	mapfile -t modules < <(apt-cache "${apt_options[@]}" pkgnames puppet-module- | LC_ALL=C sort)
	mapfile -t headers < <(apt-cache "${apt_options[@]}" pkgnames linux-headers-6.1.0- | grep -- '-common$' | sort -V | sed -n '1p;$p')
	[ "${#modules[@]}" -gt 20 ] || return 1
	fetch modules "${modules[@]}" || return 1
	# The first version lacks every fourth module; both have kernel headers, of two releases.
	local deb i=0
	for deb in modules/*.deb; do
		i=$((i + 1))
		[ $((i % 4)) -eq 0 ] || unpack v1 modules "$deb"
		unpack v2 modules "$deb"
	done
	if [ "${#headers[@]}" -eq 2 ] && fetch headers "${headers[@]}"; then
		unpack v1 headers headers/"${headers[0]}"_*.deb
		unpack v2 headers headers/"${headers[1]}"_*.deb
		# Debian gives each release a folder of its own; a tree that is kept has one.
		mv v1/headers/usr/src/linux-headers-* v1/headers/usr/src/linux-headers
		mv v2/headers/usr/src/linux-headers-* v2/headers/usr/src/linux-headers
		say "input: ${#modules[@]} packages puppet-module-*, and ${headers[*]}"
	else
		say "input: ${#modules[@]} packages puppet-module-*"
	fi
}

# A second version as a day of work leaves it: lines added, files renamed, removed, new.
edit() {
	local i=0 file
	while IFS= read -r -d '' file; do
		i=$((i + 1))
		case $((i % 50)) in
		0) printf 'one more line\n' >>"$file" ;;
		1) mv -- "$file" "$file.moved" ;;
		2) rm -- "$file" ;;
		3) cp -- "$file" "$file.new" && printf 'a copy with a difference\n' >>"$file.new" ;;
		esac
	done < <(find "$1" -type f -print0 | LC_ALL=C sort -z)
}

local_files() {
	say "input: a part of this machine's /usr/share (no packages could be fetched), and the same edited"
	mkdir -p v1
	local folder
	for folder in perl perl5 doc zoneinfo man python3 mime vim info; do
		[ -d "/usr/share/$folder" ] || continue
		cp -a "/usr/share/$folder" v1/ 2>/dev/null || true
		[ "$(du -sm v1 | cut -f1)" -lt 300 ] || break
	done
	cp -a v1 v2
	chmod -R u+w v2
	edit v2
}

given_folder() {
	[ -d "$ESTATE" ] || fail "ESTATE=$ESTATE is not a folder"
	say "input: $ESTATE, and the same edited"
	cp -a "$ESTATE" v1
	cp -a v1 v2
	chmod -R u+w v2
	edit v2
}

# ---- the job ----

human() { numfmt --to=iec-i --suffix=B --round=nearest --format='%.1f' "$1"; }

row() { # row WHAT JSON
	local what=$1 json=$2 files bytes new stored seconds rate
	read -r files bytes new stored seconds rate < <(jq -r \
		'[.files, .bytes, .new_bytes, .stored_bytes, .seconds, (.bytes / ([.seconds, 0.001] | max) | floor)] | @tsv' <<<"$json")
	printf '%-30s %9s %10s %10s %10s %8.2f s %10s/s\n' "$what" "$files" "$(human "$bytes")" "$(human "$new")" \
		"$(human "$stored")" "$seconds" "$(human "$rate")"
}

put() { # put WHAT FOLDER
	local json
	json=$("$LARDER" --json put demo/tree "$2") || fail "put $2: exit $?: $json"
	row "$1" "$json"
}

# Everything about a tree besides its content.
circumstances() {
	(cd "$1" && find . -printf '%P|%y|%m|%U|%G|%T@|%l|%n\n' | LC_ALL=C sort)
}
sums() { (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }

proof() { # proof VERSION FOLDER
	local json out=out$1 files digest
	json=$("$LARDER" --json get "demo/tree@$1" "$out") || fail "get demo/tree@$1: exit $?: $json"
	diff -r --no-dereference "$2" "$out" >difference || fail "version $1 came back different: $(head -n 3 difference)"
	sums "$2" >want
	sums "$out" >have
	cmp -s want have || fail "version $1: checksums differ"
	circumstances "$2" >want.attrs
	circumstances "$out" >have.attrs
	cmp -s want.attrs have.attrs || fail "version $1: attributes differ: $(diff want.attrs have.attrs | head -n 3)"
	files=$(wc -l <have)
	digest=$(sha256sum <have | cut -c1-16)
	printf 'version %s: %s in %s files came back in %.2f s; diff -r, modes, owners, times: equal; sha256 of all sha256: %s\n' \
		"$1" "$(human "$(jq .bytes <<<"$json")")" "$files" "$(jq .seconds <<<"$json")" "$digest"
}

heading "$("$LARDER" version) takes in two versions of a tree"
if [ -n "${ESTATE:-}" ]; then
	given_folder
else
	real_packages || {
		chmod -R u+rwX v1 v2 2>/dev/null || true
		rm -rf v1 v2
		local_files
	}
fi

heading "put"
printf '%-30s %9s %10s %10s %10s %10s %12s\n' '' files 'bytes in' 'new bytes' stored time rate
put "version 1" v1
put "version 2" v2
put "version 2 again, unchanged" v2

heading "what is kept"
"$LARDER" log demo/tree
say
"$LARDER" status
apparent=$(du -sb --exclude=index --exclude=reserve --exclude=tmp "$LARDER_STORE" | cut -f1)
say "all files of the store (without index and reserve): $(human "$apparent")"
say "from version 1 to version 2: $("$LARDER" diff demo/tree@1 demo/tree@2 | cut -d' ' -f1 | sort | uniq -c | awk '{ printf "%s%s %s", n++ ? ", " : "", $1, $2 }')"

heading "proof"
proof 1 v1
proof 2 v2
"$LARDER" check --read
rm -r "$LARDER_STORE/index"
"$LARDER" ls -l
"$LARDER" check

heading "done: what came out is what went in"
