# What all files of this folder share. Each case runs in an empty folder of its own.
bats_require_minimum_version 1.5.0

: "${LARDER:=$BATS_TEST_DIRNAME/../../.build/release/larder}"

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	unset NO_COLOR LARDER_CONFIG LARDER_INDEX_DIR LARDER_JOBS LARDER_THREADS LARDER_COLOR LARDER_PROGRESS
	export LARDER_STORE=$PWD/store HOME=$PWD/home
	export XDG_CONFIG_HOME=$HOME/.config XDG_DATA_HOME=$HOME/.local/share XDG_STATE_HOME=$HOME/.local/state
	mkdir -p "$HOME"
	umask 022
}

larder() { "$LARDER" "$@"; }

# ran CODE ARG...: run larder, expect the exit code; $output is stdout, $stderr is stderr
ran() {
	local want=$1
	shift
	run --separate-stderr larder "$@"
	[ "$status" -eq "$want" ] && return
	printf 'larder %s: exit %s, not %s\n--- stdout\n%s\n--- stderr\n%s\n' "$*" "$status" "$want" \
		"$output" "$stderr"
	return 1
}

# fails CODE WORDS ARG...: one line on stderr that starts with "larder: " and has the words; nothing on stdout
fails() {
	local code=$1 words=$2
	shift 2
	ran "$code" "$@" || return 1
	[ -z "$output" ] || { echo "stdout: $output"; return 1; }
	one_line "$words"
}

one_line() {
	[ "${#stderr_lines[@]}" -eq 1 ] || { printf 'not one line:\n%s\n' "$stderr"; return 1; }
	[[ $stderr == "larder: "* ]] || { echo "not ours: $stderr"; return 1; }
	[[ $stderr == *"$1"* ]] || { echo "'$1' is not in: $stderr"; return 1; }
}

# says WORDS: stdout has them
says() { [[ $output == *"$1"* ]] || { printf "'%s' is not in:\n%s\n" "$1" "$output"; return 1; }; }

# last FILTER: of the last line of JSON on stdout
last() { jq -r "$1" <<<"${lines[-1]}"; }

# is FILTER VALUE: the same, compared
is() {
	local got
	got=$(last "$1") || return 1
	[ "$got" = "$2" ] || { echo "$1 is '$got', not '$2', in: ${lines[-1]}"; return 1; }
}

# keys: names of the fields of an object, sorted, on one line
keys() { jq -r 'keys_unsorted | sort | join(" ")' <<<"$1"; }

# has_keys OBJECT KEY...: at least these
has_keys() {
	local object=$1 key
	shift
	for key in "$@"; do
		jq -e --arg k "$key" 'has($k)' <<<"$object" >/dev/null || { echo "no '$key' in: $object"; return 1; }
	done
}

# truth: what the store says, apart from what may be rebuilt or is only state of running processes
truth() {
	(cd "${1:-$LARDER_STORE}" && find . \( -name index -o -name tmp -o -name lock \) -prune -o -type f -print0 |
		sort -z | xargs -0r sha256sum)
}

# manifest FOLDER: everything about a tree that must come back; no times of the parent folder, no inode numbers
manifest() {
	(cd "$1" && find . -printf '%P|%y|%m|%U|%G|%T@|%l|%n|' \( -type f -printf '%s' -o -printf '-' \) -printf '\n' |
		LC_ALL=C sort
		find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
}

# flip FILE OFFSET: change one byte
flip() {
	local byte
	byte=$(od -An -tu1 -j"$2" -N1 "$1")
	printf "\\x$(printf %02x $((byte ^ 0x5a)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# largest FOLDER: the largest file below
largest() { find "$1" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-; }

# random BYTES [SEED]: the same bytes for the same seed
random() {
	openssl enc -aes-128-ctr -nosalt -K "$(printf '%032x' "${2:-1}")" -iv 00 -in /dev/zero 2>/dev/null | head -c "$1"
}

# tree FOLDER: a small directory
tree() {
	mkdir -p "$1/sub/deep"
	echo one >"$1/a.txt"
	echo two >"$1/sub/b.txt"
	random 200000 7 >"$1/sub/deep/c.bin"
	: >"$1/empty"
	mkdir "$1/empty.d"
	ln -s sub/b.txt "$1/link"
	chmod 750 "$1/sub"
	chmod 755 "$1/a.txt"
}

need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# newer_format STORE: as a later larder would have made it; the last line of config is over those before it
newer_format() {
	local lines
	chmod u+w "$1/config"
	lines=$(sed '$d' "$1/config" | sed 's/^format .*/format 2/')
	[ "$lines" != "$(sed '$d' "$1/config")" ] || return 1
	printf '%s\n' "$lines" >"$1/config"
	printf 'sha256 %s\n' "$(printf '%s\n' "$lines" | sha256sum | cut -c1-64)" >>"$1/config"
}
