# similar: the names that are most like one
load common

@test "similar puts the most similar name first, with percent and the paths that differ" {
	mkdir a
	for i in $(seq 20); do random 4000 "$i" >"a/f$i"; done
	cp -a a b
	random 4000 100 >b/f3
	cp -a a c
	for i in $(seq 10); do random 4000 "2$i" >"c/f$i"; done
	mkdir d
	random 50000 300 >d/else
	for name in a b c d; do larder -q put "n/$name" "$name"; done
	ran 0 --json similar n/a
	has_keys "${lines[0]}" name percent paths
	[ "$(jq -r .name <<<"${lines[0]}")" = n/b ]
	[ "$(jq '.percent > 80 and .percent < 100' <<<"${lines[0]}")" = true ]
	[ "$(jq -c .paths <<<"${lines[0]}")" = '["f3"]' ]
	[ "$(jq -r .name <<<"${lines[1]}")" = n/c ]
	ran 0 similar n/a
	[[ ${lines[0]} == *%*n/b ]]
}

@test "similar --limit ends the list" {
	tree t
	for name in a b c d; do larder -q put "$name" t; done
	ran 0 --json similar a --limit 2
	is .count 2
	fails 2 limit similar a --limit 0
	fails 2 limit similar a --limit x
}

@test "similar of a name that is not there is exit 3" {
	larder init
	fails 3 nosuch similar nosuch
}
