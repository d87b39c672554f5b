# check: look for damage
load common

@test "check of a healthy store is exit 0 with its counts" {
	tree t
	larder -q put t t
	ran 0 --json check
	[ "${#lines[@]}" -eq 1 ]
	has_keys "$output" done exit packs segments chunks versions bytes damages journal_tail seconds
	is .damages 0
	is .versions 1
	[ "$(last '.packs > 0 and .chunks > 0')" = true ]
	ran 0 check
	says "no damage"
}

@test "check --read hashes every byte" {
	random 300000 8 >f
	larder -q put f f
	ran 0 --json check --read
	[ "$(last '.bytes >= 300000')" = true ]
	is .damages 0
}

@test "check --sample reads a part" {
	random 300000 8 >f
	larder -q put f f
	ran 0 --json check --sample 50
	ran 0 --json check --sample 100%
	[ "$(last '.bytes >= 300000')" = true ]
	for percent in 0 101 -1 x ''; do
		fails 2 sample check --sample="$percent"
	done
}

@test "damage is one line with the names that it hits, exit 4" {
	random 500000 6 >f
	larder -q put some/name f
	larder -q put other f
	pack=$(largest store/packs)
	flip "$pack" $(($(stat -c %s "$pack") / 3))
	ran 4 check --read
	says 'damage: '
	says 'some/name@1'
	says 'other@1'
	ran 4 --json check --read
	[ "${#lines[@]}" -ge 2 ]
	has_keys "${lines[0]}" damage names
	[ "$(printf '%s\n' "${lines[@]}" | jq -s '[.[] | select(.names).names[]] | index("some/name@1") != null')" = true ]
	is .done true
	is .exit 4
	[ "$(last '.damages > 0')" = true ]
}

@test "a pack that is missing, cut short, or empty is damage" {
	random 500000 6 >f
	larder -q put f f
	cp -a store whole
	pack=$(largest store/packs)
	rm "$pack"
	ran 4 check
	says damage
	rm -r store && cp -a whole store
	truncate -s -100 "$pack"
	ran 4 check
	rm -r store && cp -a whole store
	: >"$pack"
	ran 4 check
	ran 4 get f out
	[ ! -e out ]
}

@test "a damaged journal is damage" {
	for i in 1 2 3; do
		echo "$i" >f
		larder -q put f f
	done
	journal=$(find store/journal -type f ! -name lock | head -n 1)
	flip "$journal" $(($(stat -c %s "$journal") / 2))
	run larder check
	[ "$status" -eq 4 ]
	# and also when there is no index to ask
	rm -r store/index
	run larder check
	[ "$status" -eq 4 ]
}

@test "check of an empty store" {
	larder init
	ran 0 check --read
}

@test "check where there is no store is exit 3, with an operand exit 2" {
	fails 3 store check
	fails 2 "too many" check something
	[ ! -e store ]
}
