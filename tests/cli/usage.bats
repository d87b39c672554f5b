# The command line as a whole: options, operands, exit codes, one line per mistake
# FLAVOURS: release asan
load common

@test "no command is exit 2" {
	fails 2 "larder help"
}

@test "an unknown command is exit 2 and names the nearest" {
	fails 2 "did you mean 'put'" pot
	fails 2 "did you mean 'check'" chek
	fails 2 "unknown command 'gc'" gc
	fails 2 "unknown command 'mount'" mount x
	ran 2 --json frobnicate
	is .error.code usage
	is .exit 2
	[ ! -e store ]
}

@test "an unknown option is exit 2 and names the nearest" {
	echo x >f
	fails 2 "did you mean --exclude" put f f --exlude=x
	fails 2 "-z" put -z f f
	fails 2 "unknown option '--frobnicate'" --frobnicate ls
	[ ! -e store ]
}

@test "options with a wrong value are exit 2" {
	larder init
	fails 2 jobs -j 0 ls
	fails 2 jobs -j x ls
	fails 2 jobs --jobs=-1 ls
	fails 2 color --color sometimes ls
	fails 2 "takes no value" ls --long=yes
	fails 2 "needs a value" ls -S
	fails 2 "needs a value" put f f --tag
	fails 2 store --store= ls
}

@test "global options are taken before and after the command" {
	echo x >f
	ran 0 -S "$PWD/s2" --json put f f
	is .version 1
	ran 0 put --json f -S "$PWD/s2" f -q
	is .unchanged true
	ran 0 ls -S"$PWD/s2"
	[ "$output" = f@1 ]
	ran 0 ls --store="$PWD/s2" --no-progress -j2 -v
}

@test "-- ends the options, and - alone is an operand" {
	echo x >./-f
	ran 0 put -- -name -f
	ran 0 cat -- -name
	[ "$output" = x ]
	echo y | larder put y - -q
	ran 0 cat y
	[ "$output" = y ]
}

@test "letters may stand together" {
	tree t
	larder -q put t t
	ran 0 ls -lR t//
	[ "${#lines[@]}" -eq 8 ]
	ran 0 ls -Rqj1 t//
}

@test "every form of a time" {
	larder init
	for time in 2026-11-20 2026-11-20T18:00:00Z 2026-11-20T18:00:00.123456789+02:00 2026-11-20t18:00:00z \
		90d 12h 0s 5m 3w 2y 1s; do
		ran 0 ls --as-of "$time"
	done
	for time in '' x 2026-13-01 2026-02-30 2026-11-20T25:00:00Z 2026-11-20T18:00:00 2026-11-20T18:00Z 90 90x d \
		-5d 1.5d 99999999999999999999d 26-1-1 2026-11-20Z; do
		fails 2 as-of ls --as-of="$time"
	done
}

@test "--as-of is refused where something is written" {
	echo x >f
	fails 2 as-of --as-of 1d put f f
	fails 2 as-of init --as-of 1d
	fails 2 as-of check --as-of 1d
	[ ! -e store ]
}

@test "too few and too many operands are exit 2 and say the usage" {
	for command in put get cat log diff similar rm completion; do
		ran 2 "$command"
		one_line "usage is 'larder $command"
	done
	fails 2 "too many" put a b c
	fails 2 "too many" status x
	fails 2 "too many" ls a b
	fails 2 "too many" version x
}

@test "a folder that is not a store is exit 2 for every command, and stays as it is" {
	mkdir store
	echo mine >store/letter
	echo x >f
	for command in "put f f" "get f out" "cat f" "ls" "log f" "diff f f" "find f" "rm f" "status" "check" \
		"reindex" "similar f"; do
		ran 2 $command
		one_line store
	done
	[ "$(ls -A store)" = letter ]
	[ ! -e out ]
}

@test "a store that is a file is one line" {
	echo mine >store
	for command in "ls" "init" "status"; do
		run --separate-stderr larder $command
		[ "$status" -eq 2 ] || [ "$status" -eq 1 ]
		one_line store
	done
	[ "$(cat store)" = mine ]
}

@test "reading where there is no store is exit 3 for every command, and makes none" {
	for command in "get f out" "cat f" "ls" "log f" "diff f f" "find f" "rm f" "status" "check" "reindex" \
		"similar f"; do
		ran 3 $command
		one_line store
		[ ! -e store ]
	done
}

@test "stores behind a URL are refused, not taken for folders" {
	for url in s3://bucket/prefix https://example.org/store file:///x; do
		fails 2 "not in this version" -S "$url" ls
	done
	[ ! -e s3: ] && [ ! -e https: ]
}

@test "an error with --json is one object as the last line of stdout" {
	ran 3 --json ls
	[ "${#lines[@]}" -eq 1 ]
	jq -e '.error.code and .error.message and .exit == 3' <<<"$output"
	one_line store
	ran 2 ls --json --frobnicate
	is .error.code usage
}

@test "messages cannot drive a terminal" {
	larder init
	ran 3 cat $'x\e[31m\a'
	[[ $stderr != *$'\e'* && $stderr != *$'\a'* ]]
	[[ $stderr == *'x\x1b[31m'* ]]
	ran 2 $'\e[2Jput'
	[[ $stderr != *$'\e'* ]]
}

@test "a store of a newer format is exit 1, and stays as it is" {
	echo x >f
	larder -q put f f
	newer_format store || skip "the layout of config is not known to this test"
	truth >before
	for command in ls "cat f" "put f f" status check reindex; do
		ran 1 $command
		one_line newer
	done
	truth | diff before -
}

@test "a copied store works, and draws a writer of its own" {
	echo x >f
	larder -q put f f
	cp -a store copy
	echo y >f
	ran 0 -S "$PWD/copy" put f f
	ran 0 -S "$PWD/copy" cat f
	[ "$output" = y ]
	ran 0 cat f
	[ "$output" = x ]
	one=$(larder --json status | jq -r .writer)
	two=$(larder -S copy --json status | jq -r .writer)
	[ "$one" != "$two" ]
	[ "$(larder --json status | jq -r .id)" = "$(larder -S copy --json status | jq -r .id)" ]
	ran 0 check --read
	ran 0 -S "$PWD/copy" check --read
}

@test "a store that is read by who may not write it" {
	need_root
	echo x >f
	larder -q put f f
	mkdir ro
	mount --bind store ro && mount -o remount,bind,ro ro || skip "cannot mount here"
	run larder -S ro cat f
	umount ro
	[ "$status" -eq 0 ] || [ "$status" -eq 1 ] || [ "$status" -eq 7 ]
}

@test "a closed standard output is noticed and no file of the store is written to" {
	echo x >f
	larder -q put f f
	truth >before
	run -1 sh -c '"$1" ls >&-' - "$LARDER"
	truth | diff before -
	ran 0 check
}

@test "a closed standard error and standard input do no harm" {
	echo x >f
	sh -c '"$1" put f f <&- 2>&-' - "$LARDER"
	ran 0 check --read
}
