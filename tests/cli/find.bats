# find: where a path or a content stands
load common

setup_names() {
	tree t
	larder -q put one/t t
	echo other >t/a.txt
	larder -q put one/t t
	larder -q put two/t t
}

@test "find GLOB without a slash matches a last component, in all names and versions" {
	setup_names
	ran 0 find b.txt
	[ "${lines[*]}" = 'one/t@1//sub/b.txt one/t@2//sub/b.txt two/t@1//sub/b.txt' ] ||
		[ "$(printf '%s\n' "${lines[@]}" | sort | xargs)" = 'one/t@1//sub/b.txt one/t@2//sub/b.txt two/t@1//sub/b.txt' ]
	ran 0 find '*.txt' --in two/
	[ "${#lines[@]}" -eq 2 ]
}

@test "find GLOB with a slash matches a path" {
	setup_names
	ran 0 find 'sub/*.txt' --in two/
	[ "$output" = 'two/t@1//sub/b.txt' ]
	fails 3 deep/b.txt find deep/b.txt
}

@test "what find prints can be given to cat" {
	setup_names
	ran 0 find b.txt --in two/
	ran 0 cat "$output"
	[ "$output" = two ]
}

@test "find --content-id says where a content stands" {
	setup_names
	id=$(printf 'other\n' | sha256sum | cut -c1-64)
	ran 0 find --content-id "$id"
	[ "$(printf '%s\n' "${lines[@]}" | sort | xargs)" = 'one/t@2//a.txt two/t@1//a.txt' ]
	ran 0 find --content-id "$id" --in one/
	[ "$output" = one/t@2//a.txt ]
	ran 0 find '*.txt' --content-id "${id^^}"
	[ "${#lines[@]}" -eq 2 ]
}

@test "find with --json has its fields" {
	setup_names
	ran 0 --json find a.txt --in two/
	has_keys "${lines[0]}" name version path type bytes id
	[ "$(jq -c '[.name, .version, .path, .type, .bytes]' <<<"${lines[0]}")" = '["two/t",1,"a.txt","file",6]' ]
	is .count 1
}

@test "nothing found is exit 3" {
	setup_names
	fails 3 nosuch find nosuch
	ran 3 --json find nosuch
	is .error.code not_found
	fails 3 00 find --content-id "$(printf '0%.0s' $(seq 64))"
	fails 3 b.txt find b.txt --in three/
}

@test "find --as-of looks at the store as it was" {
	setup_names
	fails 3 b.txt --as-of 2000-01-01 find b.txt
	ran 0 --as-of 0s find b.txt
}

@test "find without anything to find is exit 2, and so is an id that is none" {
	larder init
	fails 2 GLOB find
	fails 2 id find --content-id 1234
	fails 2 id find --content-id "$(printf 'z%.0s' $(seq 64))"
	fails 2 GLOB find ''
}
