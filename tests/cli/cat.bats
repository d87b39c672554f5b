# cat: the bytes of one file
load common

@test "cat writes the bytes of a file, whole and unchanged" {
	random 700000 >f
	larder put f f
	larder cat f | cmp - f
}

@test "cat of a path inside, of a version, of an id" {
	tree t
	id=$(larder --json put t t | jq -r .id)
	ran 0 cat t//sub/b.txt
	[ "$output" = two ]
	ran 0 cat t@1//a.txt
	[ "$output" = one ]
	ran 0 cat "id:$id//a.txt"
	[ "$output" = one ]
}

@test "cat with --json: bytes on stdout, one object on stderr" {
	printf 'x\0y' >f
	larder put f f
	larder --json cat f >out 2>err
	cmp f out
	jq -e '.done and .exit == 0 and .bytes == 3 and .version == 1' err
	[ "$(wc -l <err)" -eq 1 ]
}

@test "an error of cat with --json is one object on stderr and nothing on stdout" {
	larder init
	ran 3 --json cat nosuch
	[ -z "$output" ]
	[ "${#stderr_lines[@]}" -eq 1 ]
	jq -e '.error.code == "not_found" and .exit == 3' <<<"$stderr"
}

@test "cat of a directory is exit 2, of nothing exit 3" {
	tree t
	larder put t t
	fails 2 t cat t
	fails 2 sub cat t//sub
	fails 3 nosuch cat nosuch
	fails 3 nosuch cat t//nosuch
}

@test "cat --as-of shows what was there" {
	echo one >f
	larder put f f
	sleep 0.01
	then=$(larder --json log f | head -n 1 | jq -r .created)
	echo two >f
	larder put f f
	ran 0 cat --as-of "$then" f
	[ "$output" = one ]
}

@test "who closes the pipe early gets no complaint" {
	random 3000000 >f
	larder put f f
	larder cat f 2>err | head -c 5 >/dev/null
	[ ! -s err ]
}
