# get: write exactly what was put
# FLAVOURS: release asan
load common

@test "get of a file says every field of the contract" {
	random 100000 >f
	larder put f f
	ran 0 --json get f out
	[ "${#lines[@]}" -eq 1 ]
	has_keys "$output" done exit name version id bytes files seconds
	is .name f
	is .version 1
	is .bytes 100000
	is .files 1
	[[ $(last .id) =~ ^[0-9a-f]{64}$ ]]
	cmp f out
}

@test "get of a directory gives back everything" {
	tree t
	larder put t t
	ran 0 get t out
	manifest t >want
	manifest out | diff want -
}

@test "get NAME - writes the bytes and nothing else to stdout, JSON to stderr" {
	random 300000 2 >f
	larder put f f
	larder --json get f - >out 2>err
	cmp f out
	[ "$(wc -l <err)" -eq 1 ]
	jq -e '.done and .exit == 0 and .bytes == 300000 and .name == "f"' err
	larder get f - >out 2>err
	cmp f out
	[ ! -s err ]
}

@test "get of an older version, by number and by time" {
	echo one >f
	larder put f f
	sleep 0.01
	created=$(larder --json log f | head -n 1 | jq -r .created)
	echo two >f
	larder put f f
	ran 0 get f@1 -
	[ "$output" = one ]
	ran 0 get f@2 -
	[ "$output" = two ]
	ran 0 --as-of "$created" get f -
	[ "$output" = one ]
	ran 0 get --as-of 0s f -
	[ "$output" = two ]
	fails 3 f --as-of 2001-01-01 get f out
	fails 3 f get --as-of 10y f out
}

@test "get of what lies inside a directory" {
	tree t
	larder put t t
	ran 0 get t//sub/b.txt -
	[ "$output" = two ]
	ran 0 get t@1//sub sub
	diff -r t/sub sub
	[ "$(stat -c %a sub)" = 750 ]
	ran 0 --json get t//a.txt out
	is .bytes 4
	[ "$(stat -c %a out)" = 755 ]
}

@test "get of an object by id, in full or by eight digits" {
	echo content >f
	id=$(larder --json put f f | jq -r .id)
	ran 0 get "id:$id" -
	[ "$output" = content ]
	ran 0 get "id:${id:0:8}" -
	[ "$output" = content ]
	ran 0 --json get "id:$id" out
	is .name null
	is .version null
	is .id "$id"
	cmp f out
}

@test "an id that is too short, no hex, or unknown" {
	echo content >f
	id=$(larder --json put f f | jq -r .id)
	fails 2 id get "id:${id:0:7}" out
	fails 2 id get "id:xyzxyzxyz" out
	fails 2 id get "id:${id}0" out
	fails 3 id get "id:0123456789abcdef" out
	[ ! -e out ]
}

@test "what is at the destination stays, exit 1" {
	echo new >f
	tree t
	larder put f f
	larder put t t
	echo old >out
	mkdir outd
	echo old >outd/a.txt
	fails 1 out get f out
	fails 1 outd get t outd
	fails 1 out get t out
	[ "$(cat out)" = old ]
	[ "$(cat outd/a.txt)" = old ]
	[ "$(ls outd)" = a.txt ]
	ran 1 --json get f out
	is .error.code exists
}

@test "--overwrite replaces it" {
	echo new >f
	tree t
	larder put f f
	larder put t t
	echo old >out
	mkdir outd
	echo old >outd/other
	ran 0 get f out --overwrite
	cmp f out
	ran 0 get t outd --overwrite
	manifest t >want
	manifest outd | diff want -
}

@test "nothing is left beside the destination" {
	tree t
	larder put t t
	mkdir here
	ran 0 get t here/out
	[ "$(ls -A here)" = out ]
}

@test "--verify-only reads everything and writes nothing" {
	tree t
	larder put t t
	mkdir empty
	cd empty
	ran 0 --json get t --verify-only
	is .files 5
	ran 0 get t here --verify-only
	says verified
	[ -z "$(ls -A)" ]
}

@test "names, versions and paths that are not there are exit 3" {
	tree t
	larder put t t
	fails 3 nosuch get nosuch out
	fails 3 t get t@2 out
	fails 3 no/such get t//no/such out
	ran 3 --json get nosuch out
	is .error.code not_found
	is .exit 3
	[ ! -e out ]
}

@test "specs that are not allowed are exit 2" {
	echo x >f
	larder put f f
	for spec in f@0 ../f f//.. f//a/../b '' /f; do
		ran 2 get "$spec" out
		[ ! -e out ]
	done
}

@test "a directory cannot go to standard output" {
	tree t
	larder put t t
	ran 2 get t -
	[ -z "$output" ]
	one_line t
}

@test "a destination whose folder is missing is one line" {
	echo x >f
	larder put f f
	run --separate-stderr larder get f no/such/folder/out
	[ "$status" -eq 1 ] || [ "$status" -eq 3 ]
	one_line no/such/folder
}

@test "what fails verification is exit 4 and nothing is put in place" {
	random 500000 6 >f
	larder put f f
	pack=$(largest store/packs)
	flip "$pack" $(($(stat -c %s "$pack") / 3))
	ran 4 get f out
	[ ! -e out ]
	one_line pack
	ran 4 --json get f out
	is .error.code corrupt
	ran 4 get f --verify-only
}

@test "what this version does not have is refused" {
	echo x >f
	larder put f f
	fails 2 "not in this version" get f out --unpack
	fails 2 "not in this version" get f out --format tar
	fails 2 "not in this version" get f out --unconfined
	fails 2 "not in this version" get f out --as-root-attrs
	[ ! -e out ]
}

@test "get without a destination says what is missing" {
	fails 2 operand get f
	fails 2 operand get
	fails 2 "too many" get a b c
}

@test "a full disk at standard output is exit 1" {
	[ -e /dev/full ] || skip "no /dev/full"
	random 300000 2 >f
	larder put f f
	run -1 --separate-stderr sh -c '"$1" get f - >/dev/full' - "$LARDER"
	one_line ""
}

@test "who closes the pipe early gets no complaint" {
	random 3000000 2 >f
	larder put f f
	larder get f - 2>err | head -c 10 >/dev/null
	[ ! -s err ]
}

@test "symbolic links in the destination path lead nowhere else" {
	tree t
	larder put t t
	mkdir target
	ln -s target out
	ran 1 get t out
	[ -z "$(ls -A target)" ]
}
