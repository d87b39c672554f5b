# reindex: the index is expendable
load common

answers() {
	larder ls
	larder ls -lR t//
	larder log t
	larder --json status | jq -c 'del(.index_bytes)'
}

setup_store() {
	tree t
	larder -q put t t
	echo more >t/more
	larder -q put t t
	larder -q put u t
	larder -q rm u
}

@test "reindex gives an index that answers the same" {
	setup_store
	answers >before
	ran 0 --json reindex
	has_keys "$output" done exit packs chunks entries versions damages seconds
	is .damages 0
	answers | diff before -
	ran 0 check --read
}

@test "a deleted index is rebuilt by the next command, with one line of notice" {
	setup_store
	answers >before
	rm -r store/index
	ran 0 ls
	one_line index
	ran 0 ls
	[ -z "$stderr" ]
	answers | diff before -
	ran 0 check --read
}

@test "with -q there is no notice" {
	setup_store
	rm -r store/index
	ran 0 -q ls
	[ -z "$stderr" ]
}

@test "an index of another store is noticed and rebuilt" {
	setup_store
	answers >before
	echo other >o
	larder -q -S other put o o
	rm -r store/index
	cp -a other/index store/index
	ran 0 ls
	answers | diff before -
}

@test "an index full of rubbish, cut short or empty is rebuilt" {
	setup_store
	answers >before
	data=$(largest store/index)
	random 65536 >"$data"
	ran 0 ls
	answers | diff before -
	truncate -s 5000 "$data"
	ran 0 ls
	answers | diff before -
	: >"$data"
	ran 0 ls
	answers | diff before -
}

@test "reindex --dry-run changes nothing" {
	setup_store
	find store -type f -exec sha256sum {} + | sort >before
	ran 0 --json reindex --dry-run
	is .dry_run true
	find store -type f -exec sha256sum {} + | sort | diff before -
}

@test "reindex works where the index is damaged" {
	setup_store
	answers >before
	random 65536 >"$(largest store/index)"
	ran 0 reindex
	answers | diff before -
}

@test "reindex where there is no store is exit 3" {
	fails 3 store reindex
	[ ! -e store ]
}

@test "--index-dir keeps the index elsewhere" {
	tree t
	ran 0 --index-dir "$PWD/ix" put t t
	[ -n "$(ls -A ix)" ]
	[ ! -e store/index/data.mdb ]
	ran 0 --index-dir "$PWD/ix" ls
	[ "$output" = t@1 ]
	LARDER_INDEX_DIR=$PWD/ix ran 0 ls
	[ "$output" = t@1 ]
	rm -r ix
	ran 0 --index-dir "$PWD/ix" ls
	[ "$output" = t@1 ]
}
