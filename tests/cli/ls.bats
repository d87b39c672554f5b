# ls: names with their latest version, or entries inside
load common

@test "ls of a store without names is nothing, exit 0" {
	larder init
	ran 0 ls
	[ -z "$output" ]
	ran 0 --json ls
	[ "$output" = '{"done":true,"exit":0,"count":0}' ]
}

@test "ls where there is no store is exit 3 and makes none" {
	fails 3 store ls
	[ ! -e store ]
	mkdir store
	fails 3 store ls
	[ -z "$(ls -A store)" ]
}

@test "ls lists names in order, each with its latest version" {
	echo 1 >f
	larder put b f
	larder put a/x f
	echo 2 >f
	larder put b f
	ran 0 ls
	[ "${lines[*]}" = 'a/x@1 b@2' ]
}

@test "ls PREFIX lists the names that start with it" {
	echo 1 >f
	for name in one/a one/b only two; do larder -q put "$name" f; done
	ran 0 ls one/
	[ "${lines[*]}" = 'one/a@1 one/b@1' ]
	ran 0 ls on
	[ "${#lines[@]}" -eq 3 ]
	ran 0 ls nosuch
	[ -z "$output" ]
}

@test "ls of names with --json has every field of the contract" {
	printf 'hello' >f
	tree t
	larder put f f
	larder put t t
	ran 0 --json ls
	[ "${#lines[@]}" -eq 3 ]
	has_keys "${lines[0]}" name version kind bytes created id
	[ "$(jq -c '[.name, .version, .kind, .bytes]' <<<"${lines[0]}")" = '["f",1,"file",5]' ]
	[ "$(jq -r .id <<<"${lines[0]}")" = "$(printf hello | sha256sum | cut -c1-64)" ]
	[ "$(jq -r .kind <<<"${lines[1]}")" = dir ]
	[[ $(jq -r .created <<<"${lines[0]}") =~ ^20[0-9-]{8}T[0-9:]{8}\.[0-9]{9}Z$ ]]
	is .done true
	is .count 2
}

@test "ls -l of names shows kind, size, time and id" {
	printf 'hello' >f
	larder put f f
	ran 0 ls -l
	[[ $output =~ ^file.*5\ B.*20[0-9-]{8}T[0-9:]{8}Z.*2cf24dba5fb0.*f@1$ ]]
}

@test "ls NAME// lists what is inside, sorted; -R also deeper" {
	tree t
	larder put t t
	ran 0 ls t//
	[ "${lines[*]}" = 'a.txt empty empty.d link sub' ]
	ran 0 ls t//sub
	[ "${lines[*]}" = 'b.txt deep' ]
	ran 0 ls -R t//
	[ "${lines[*]}" = 'a.txt empty empty.d link sub sub/b.txt sub/deep sub/deep/c.bin' ]
	ran 0 ls t@1//sub/deep
	[ "$output" = c.bin ]
}

@test "ls of entries with --json has every field of the contract" {
	tree t
	touch -d 2020-02-03T04:05:06.789Z t/a.txt
	larder put t t
	ran 0 --json ls -R t//
	has_keys "${lines[0]}" path type mode bytes mtime id
	row() { printf '%s\n' "${lines[@]}" | jq -c --arg p "$1" 'select(.path == $p)'; }
	[ "$(row a.txt | jq -c '[.type, .mode, .bytes, .mtime]')" = '["file","0755",4,"2020-02-03T04:05:06.789000000Z"]' ]
	[ "$(row a.txt | jq -r .id)" = "$(sha256sum <t/a.txt | cut -c1-64)" ]
	[ "$(row sub | jq -c '[.type, .mode]')" = '["dir","0750"]' ]
	[ "$(row link | jq -c '[.type, .target]')" = '["symlink","sub/b.txt"]' ]
	[ "$(row sub/deep/c.bin | jq -c '[.type, .bytes]')" = '["file",200000]' ]
	[ "$(row a.txt | jq .uid)" = "$(id -u)" ]
	is .count 8
}

@test "ls -l of entries reads like ls -l" {
	tree t
	chmod 4755 t/a.txt
	chmod 1777 t/empty.d
	larder put t t
	ran 0 ls -lR t//
	[[ ${lines[0]} == -rwsr-xr-x*" 4 "*Z" a.txt" ]]
	[[ ${lines[2]} == drwxrwxrwt*empty.d ]]
	[[ ${lines[3]} == l*'link -> sub/b.txt' ]]
	[[ ${lines[4]} == drwxr-x---*sub ]]
}

@test "ls of a path that is missing is exit 3, of a file one of exit 2 and 0" {
	tree t
	larder put t t
	fails 3 nosuch ls t//nosuch
	fails 3 nosuch ls nosuch//
	run larder ls t//a.txt
	[ "$status" -eq 0 ] || [ "$status" -eq 2 ]
}

@test "ls of an object by id" {
	tree t
	id=$(larder --json put t t | jq -r .id)
	ran 0 ls "id:$id"
	[ "${lines[0]}" = a.txt ]
	ran 0 --json ls "id:$id//sub"
	[ "$(jq -r .path <<<"${lines[0]}")" = b.txt ]
}

@test "ls --as-of lists what was there then" {
	echo 1 >f
	larder put a f
	sleep 0.01
	then=$(larder --json ls | head -n 1 | jq -r .created)
	larder put b f
	echo 2 >f
	larder put a f
	ran 0 --as-of "$then" ls
	[ "$output" = a@1 ]
	ran 0 ls --as-of 2000-01-01
	[ -z "$output" ]
}

@test "names that drive a terminal are printed escaped, and whole in JSON" {
	echo x >f
	name=$'evil\e[31m\ttab\\back\u202e'
	larder -q put "$name" f
	ran 0 ls
	[ "$output" = 'evil\x1b[31m\x09tab\\back\xe2\x80\xae@1' ]
	ran 0 --json ls
	[ "$(jq -r .name <<<"${lines[0]}")" = "$name" ]
	[ "$(jq 'has("name_hex")' <<<"${lines[0]}")" = false ]
}

@test "a name that is not UTF-8 has its bytes in a field of its own" {
	mkdir t
	echo x >$'t/caf\xe9'
	larder -q put $'n\xff' t
	ran 0 ls
	[ "$output" = 'n\xff@1' ]
	ran 0 --json ls
	[ "$(jq -r .name_hex <<<"${lines[0]}")" = 6eff ]
	[ "$(jq -r .name <<<"${lines[0]}")" = $'n\ufffd' ]
	ran 0 --json ls $'n\xff//'
	[ "$(jq -r .path_hex <<<"${lines[0]}")" = 636166e9 ]
	ran 0 ls $'n\xff//'
	[ "$output" = 'caf\xe9' ]
}

@test "who closes the pipe early gets no complaint" {
	mkdir t
	(cd t && seq 1 20000 | xargs touch)
	larder -q put t t
	larder ls t// 2>err | head -n 1 >/dev/null
	[ ! -s err ]
}

@test "a full disk at standard output is exit 1" {
	[ -e /dev/full ] || skip "no /dev/full"
	echo x >f
	larder -q put f f
	run -1 --separate-stderr sh -c '"$1" ls >/dev/full' - "$LARDER"
	one_line "standard output"
	run -1 --separate-stderr sh -c '"$1" --json ls >/dev/full' - "$LARDER"
}

@test "colour only when it is asked for, or on a terminal" {
	tree t
	larder -q put t t
	ran 0 ls t//
	[[ $output != *$'\e'* ]]
	ran 0 --color always ls t//
	[[ $output == *$'\e['* ]]
	ran 0 --color=always --json ls t//
	[[ $output != *$'\e'* ]]
	NO_COLOR=1 ran 0 ls t//
	[[ $output != *$'\e'* ]]
}
