# put: store a file, a directory or standard input as the next version of a name
load common

@test "put of a file says every field of the contract" {
	printf 'hello, larder\n' >f
	ran 0 --json put greetings/hello f
	[ "${#lines[@]}" -eq 1 ]
	has_keys "$output" done exit name version id kind bytes new_bytes stored_bytes files unchanged sha256 seconds
	is .done true
	is .exit 0
	is .name greetings/hello
	is .version 1
	is .kind file
	is .bytes 14
	is .new_bytes 14
	is .files 1
	is .unchanged false
	is .sha256 "$(sha256sum <f | cut -c1-64)"
	[ "$(last '.stored_bytes > 0')" = true ]
	[ "$(last '.seconds >= 0')" = true ]
	[ -z "$stderr" ]
}

@test "the id of a file up to 64 KiB is its SHA-256" {
	for size in 1 1000 65536; do
		random "$size" "$size" >f
		ran 0 --json put "f$size" f
		is .id "$(sha256sum <f | cut -c1-64)"
		is .sha256 "$(sha256sum <f | cut -c1-64)"
	done
}

@test "a file over 64 KiB has a SHA-256 only with --sha256" {
	random 65537 >f
	ran 0 --json put f f
	is .sha256 null
	ran 0 --json put g f --sha256
	is .sha256 "$(sha256sum <f | cut -c1-64)"
	is .new_bytes 0
}

@test "a --sha256 is remembered: log shows it" {
	random 200000 >f
	larder put f f --sha256
	ran 0 --json log f
	[ "$(jq -r .sha256 <<<"${lines[0]}")" = "$(sha256sum <f | cut -c1-64)" ]
}

@test "put of a directory counts its files and bytes" {
	tree t
	ran 0 --json put t t
	is .kind dir
	is .files "$(find t ! -type d | wc -l)"
	is .bytes "$(find t -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')"
	is .unchanged false
	is .sha256 null
}

@test "the same file again makes no new version" {
	echo x >f
	larder put f f
	truth >before
	ran 0 --json put f f
	is .version 1
	is .unchanged true
	is .new_bytes 0
	ran 0 --json log f
	is .count 1
}

@test "the same directory again makes no new version" {
	tree t
	larder put t t
	ran 0 --json put t t
	is .version 1
	is .unchanged true
	is .new_bytes 0
	cp -a t u
	ran 0 --json put t u
	is .version 1
	is .unchanged true
}

@test "a directory with another mode, time or owner inside is a new version" {
	tree t
	larder put t t
	chmod 600 t/a.txt
	ran 0 --json put t t
	is .version 2
	is .unchanged false
	is .new_bytes 0
	touch -d 2001-02-03 t/sub/b.txt
	ran 0 --json put t t
	is .version 3
	is .new_bytes 0
}

@test "going back to an older content is a new version" {
	echo one >f
	larder put f f
	echo two >f
	larder put f f
	echo one >f
	ran 0 --json put f f
	is .version 3
	is .new_bytes 0
	ran 0 cat f@2
	[ "$output" = two ]
}

@test "a changed file in a directory costs that file only" {
	tree t
	random 5000 9 >t/new.bin
	larder put t t
	random 5000 10 >t/new.bin
	ran 0 --json put t t
	is .version 2
	is .new_bytes 5000
}

@test "bytes inserted into the middle of a large file cost a few chunks" {
	random 3000000 3 >f
	larder put f f
	{ head -c 1500000 f; echo inserted; tail -c +1500001 f; } >g
	ran 0 --json put f g
	is .version 2
	[ "$(last '.new_bytes > 0 and .new_bytes < 300000')" = true ]
	larder get f out
	cmp g out
}

@test "content known under another name is not new" {
	random 100000 4 >f
	larder put one f
	ran 0 --json put two f
	is .version 1
	is .new_bytes 0
}

@test "put - takes standard input" {
	random 300000 5 >f
	ran 0 --json put stream - <f
	is .kind file
	is .bytes 300000
	larder cat stream | cmp - f
	ran 0 --json put stream f
	is .unchanged true
}

@test "put - takes a pipe, also one that is empty" {
	seq 1 100000 | larder put numbers -
	[ "$(larder cat numbers | sha256sum)" = "$(seq 1 100000 | sha256sum)" ]
	: | larder --json put nothing - | jq -e '.bytes == 0 and .files == 1'
	[ -z "$(larder cat nothing)" ]
}

@test "an empty file and an empty directory are stored" {
	: >f
	mkdir d
	ran 0 --json put f f
	is .bytes 0
	is .new_bytes 0
	ran 0 --json put d d
	is .kind dir
	is .files 0
	larder get d out
	[ -d out ] && [ -z "$(ls -A out)" ]
}

@test "--exclude without a slash matches a name anywhere" {
	tree t
	echo x >t/sub/x.tmp
	echo x >t/x.tmp
	larder put t t --exclude '*.tmp' --exclude deep
	ran 0 ls -R t//
	run grep -E 'tmp|deep' <<<"$output"
	[ "$status" -eq 1 ]
}

@test "--exclude with a slash matches a path from the top" {
	mkdir -p t/a/b t/b
	echo 1 >t/a/b/f
	echo 2 >t/b/f
	larder put t t --exclude a/b/f
	ran 0 ls -R t//
	says b/f
	run grep -x a/b/f <<<"$output"
	[ "$status" -eq 1 ]
}

@test "--exclude-from takes one glob a line and skips comments" {
	mkdir t
	touch t/keep t/drop.o t/drop.a 't/#hash'
	printf '# objects\n*.o\n\n*.a\r\n' >globs
	larder put t t --exclude-from globs
	ran 0 ls t//
	[ "${lines[*]}" = '#hash keep' ]
}

@test "--exclude-from a file that is missing is exit 2 and makes no store" {
	tree t
	fails 2 no-such-globs put t t --exclude-from no-such-globs
	[ ! -e store ]
}

@test "--one-file-system leaves out what is mounted inside" {
	need_root
	mkdir -p t/inner
	mount -t tmpfs none t/inner || skip "cannot mount here"
	echo x >t/inner/x
	echo y >t/y
	run larder put t t --one-file-system
	umount t/inner
	[ "$status" -eq 0 ]
	ran 0 ls -R t//
	[[ $output != *inner/x* ]]
	says y
}

@test "--tag gives a version tags, and refuses what is none" {
	echo x >f
	ran 0 put f f --tag host=web1 --tag 'note=a=b c'
	ran 0 --json log f
	[ "$(jq -r '.tags.host' <<<"${lines[0]}")" = web1 ]
	[ "$(jq -r '.tags.note' <<<"${lines[0]}")" = 'a=b c' ]
	fails 2 tag put f f --tag novalue
	fails 2 tag put f f --tag =x
}

@test "--dry-run says what would be new and writes nothing" {
	tree t
	larder put t t
	truth >before
	random 70000 11 >t/more
	ran 0 --json put t t --dry-run
	is .dry_run true
	is .new_bytes 70000
	is .unchanged false
	truth | diff before -
	ran 0 --json log t
	is .count 1
}

@test "--dry-run makes no store" {
	echo x >f
	fails 3 store put f f --dry-run
	[ ! -e store ]
}

@test "--opaque is taken; what this version does not have is refused" {
	echo x >f
	ran 0 put f f --opaque
	fails 2 "not in this version" put f f --unconfined
	fails 2 "not in this version" put f f --codec none
}

@test "a path that is missing is exit 3, and no store is made for it" {
	fails 3 "no/such/file" put x no/such/file
	[ ! -e store ]
	ran 3 --json put x no/such/file
	is .error.code not_found
	[ ! -e store ]
}

@test "names that are not allowed are exit 2, and no store is made for them" {
	echo x >f
	long=$(printf 'x%.0s' $(seq 1025))
	for name in '' / /a a/ a//b . .. a/./b a/../b ../a a/.. x@3 x@0 a/b@12 "$long" id:abc; do
		ran 2 put "$name" f
		one_line name
		[ ! -e store ]
	done
}

@test "names at the edge of what is allowed are taken" {
	echo x >f
	long=$(printf 'x%.0s' $(seq 1024))
	for name in a ... a/...b x@ x@3a @3a/b 'with blank' 'quote"' $'tab\t' "$long" a@b; do
		ran 0 put "$name" f
		ran 0 cat "$name"
		[ "$output" = x ]
	done
}

@test "a file that cannot be read is named, the rest is stored, exit 5" {
	mkdir t
	echo a >t/a
	echo b >t/b
	chmod 000 t/b
	if [ "$(id -u)" = 0 ]; then
		drop=(setpriv --bounding-set=-dac_override,-dac_read_search)
		"${drop[@]}" true || skip "cannot drop capabilities"
	else
		drop=(env)
	fi
	run --separate-stderr "${drop[@]}" "$LARDER" --json put t t
	[ "$status" -eq 5 ]
	is .exit 5
	is .done true
	is .skipped 1
	is .files 1
	[[ $stderr == "larder: put: "*b": "* ]]
	ran 0 ls t//
	[ "$output" = a ]
}

@test "a single file that cannot be read is one line and no version" {
	echo b >b
	chmod 000 b
	if [ "$(id -u)" = 0 ]; then
		drop=(setpriv --bounding-set=-dac_override,-dac_read_search)
		"${drop[@]}" true || skip "cannot drop capabilities"
	else
		drop=(env)
	fi
	run --separate-stderr "${drop[@]}" "$LARDER" put b b
	[ "$status" -eq 7 ] || [ "$status" -eq 1 ] || [ "$status" -eq 5 ]
	one_line b
	ran 3 cat b
}

@test "a store inside the folder that is put leaves itself out" {
	tree t
	LARDER_STORE=$PWD/t/store
	for _ in 1 2; do
		run larder put t t
		[ "$status" -eq 0 ] || [ "$status" -eq 5 ] # it may be named
	done
	ran 0 ls -R t//
	[[ $output != *store* ]]
	says sub/b.txt
}

@test "put says in words what it did, and nothing with -q" {
	echo x >f
	ran 0 put f f
	says 'f@1: 2 B in 1 file, new 2 B'
	ran 0 put f f
	says 'f@1: unchanged'
	ran 0 -q put f f
	[ -z "$output$stderr" ]
}

@test "every number of workers stores the same" {
	tree t
	ran 0 --json -j 1 put t t
	id=$(last .id)
	for jobs in 2 3 8; do
		ran 0 --json -S "s$jobs" -j "$jobs" put t t
		is .id "$id"
	done
}

@test "eight processes that put at once all succeed, and all comes back" {
	for i in 1 2 3 4 5 6 7 8; do
		mkdir "t$i"
		random 300000 99 >"t$i/shared"
		random 100000 "$i" >"t$i/own"
	done
	larder init
	for i in 1 2 3 4 5 6 7 8; do
		larder -q put "t$i" "t$i" 3>&- &
		pids[i]=$!
	done
	for i in 1 2 3 4 5 6 7 8; do wait "${pids[i]}"; done
	for i in 1 2 3 4 5 6 7 8; do
		larder -q get "t$i" "o$i"
		diff -r "t$i" "o$i"
	done
	ran 0 check --read
}
