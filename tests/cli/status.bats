# status: what the store holds and how it is
load common

@test "status says every field of the contract" {
	tree t
	larder -q put t t
	larder -q put u t
	ran 0 --json status
	has_keys "$output" done exit names versions objects chunks records cache_entries bytes stored_bytes index_bytes packs
	is .names 2
	is .versions 2
	is .bytes "$((2 * $(find t -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')))"
	is .records 0
	is .cache_entries 0
	is .mode plain
	is .store "$LARDER_STORE"
	is .last_check null
	is .healthy true
	is .cause null
	[ "$(last '.packs > 0 and .stored_bytes > 0 and .index_bytes > 0 and .chunks > 0 and .objects > 0')" = true ]
	is '.remotes | length' 0
}

@test "status in words" {
	tree t
	larder -q put t t
	ran 0 status
	for word in "store  " "mode  " plain "names  " "versions  " "bytes in" "stored  " "ratio  " "last check" never good; do
		says "$word"
	done
}

@test "status of an empty store" {
	larder init
	ran 0 --json status
	is .names 0
	is .versions 0
	is .bytes 0
	is .packs 0
	ran 0 status
}

@test "status shows when the store was checked" {
	tree t
	larder -q put t t
	larder -q check
	ran 0 --json status
	[[ $(last .last_check) == 20*Z ]]
	is .last_check_clean true
	is .exit 0
}

@test "status is exit 4 after a check that found damage" {
	random 500000 6 >f
	larder -q put f f
	pack=$(largest store/packs)
	flip "$pack" $(($(stat -c %s "$pack") / 3))
	ran 4 -q check --read
	ran 4 --json status
	is .exit 4
	is .healthy false
	is .last_check_clean false
	ran 4 status
}

@test "status where there is no store is exit 3" {
	fails 3 store status
	[ ! -e store ]
}
