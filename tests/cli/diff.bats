# diff: what becomes of A on the way to B
load common

two_versions() {
	tree t
	larder -q put t t
	echo changed >t/a.txt
	rm t/sub/b.txt
	mkdir t/added
	echo new >t/added/n
	chmod 700 t/sub/deep/c.bin
	larder -q put t t
}

@test "diff lists added, removed and changed paths, and other attributes" {
	two_versions
	ran 0 --json diff t@1 t@2
	change() { printf '%s\n' "${lines[@]}" | jq -r --arg p "$1" 'select(.path == $p).change'; }
	[ "$(change a.txt)" = changed ]
	[ "$(change sub/b.txt)" = removed ]
	[ "$(change added/n)" = added ]
	[ "$(change sub/deep/c.bin)" = attrs ]
	[ -z "$(change empty)" ]
	has_keys "${lines[0]}" path change
	[ "$(last .count)" -eq $((${#lines[@]} - 1)) ]
}

@test "diff in words says the same" {
	two_versions
	ran 0 diff t@1 t@2
	says 'changed  a.txt'
	says 'removed  sub/b.txt'
	says 'added    added/n'
	says 'attrs    sub/deep/c.bin'
}

@test "the other way round added and removed change places" {
	two_versions
	ran 0 diff t@2 t@1
	says 'added    sub/b.txt'
	says 'removed  added/n'
}

@test "diff of equal things is nothing, exit 0" {
	tree t
	larder -q put t t
	cp -a t u
	larder -q put u u
	ran 0 diff t u
	[ -z "$output" ]
	ran 0 --json diff t t@1
	[ "$output" = '{"done":true,"exit":0,"count":0}' ]
}

@test "diff of what lies inside" {
	two_versions
	ran 0 diff t@1//sub t@2//sub
	says 'removed  b.txt'
	[[ $output != *a.txt* ]]
}

@test "a file that becomes a directory is told" {
	mkdir t
	echo x >t/x
	larder -q put t t
	rm t/x
	mkdir t/x
	echo y >t/x/y
	larder -q put t t
	ran 0 --json diff t@1 t@2
	[ "$(printf '%s\n' "${lines[@]}" | jq -s -c '[.[] | select(.path)] | map([.path, .change])')" = \
		'[["x","changed"],["x/y","added"]]' ]
}

@test "diff of what is not there is exit 3, of one operand exit 2" {
	tree t
	larder -q put t t
	fails 3 nosuch diff t nosuch
	fails 3 t diff t t@2
	fails 2 operand diff t
}
