# init: create a store
load common

@test "init makes a store that only its owner may enter, and says what it is" {
	ran 0 --json init
	[ "${#lines[@]}" -eq 1 ]
	has_keys "$output" done exit store id mode
	is .done true
	is .exit 0
	is .store "$LARDER_STORE"
	is .mode plain
	[[ $(last .id) =~ ^[0-9a-f]{32}$ ]]
	[ "$(stat -c %a store)" = 700 ]
	[ -f store/config ]
}

@test "init says in words where the store is" {
	ran 0 init
	says "created store $LARDER_STORE"
	[ -z "$stderr" ]
}

@test "init in an empty folder that is there already makes the store in it" {
	mkdir store
	ran 0 init
	ran 0 ls
}

@test "init where there is a store is exit 1 and changes nothing" {
	larder init
	truth >before
	fails 1 store init
	truth | diff before -
	ran 1 --json init
	is .error.code exists
	is .exit 1
	truth | diff before -
}

@test "init in a folder with other things is exit 2 and changes nothing" {
	mkdir store
	echo mine >store/letter
	fails 2 store init
	[ "$(ls -A store)" = letter ]
}

@test "init --chunk-size takes powers of two from 4K to 64K" {
	for size in 4K 8K 16384 32K 64K; do
		ran 0 --json -S "s$size" init --chunk-size "$size"
		ran 0 --json -S "s$size" status
	done
	ran 0 --json -S s4K status
	is .chunk_size 4096
}

@test "init --chunk-size refuses everything else and makes nothing" {
	for size in 2K 5K 128K 0 x 16KB -1 1e3 99999999999999999999; do
		fails 2 chunk-size init --chunk-size="$size"
		[ ! -e store ]
	done
}

@test "init --dry-run says what would be done and does not do it" {
	ran 0 init --dry-run
	says "would create a store"
	[ ! -e store ]
	ran 0 --json init --dry-run
	is .dry_run true
	is .store "$LARDER_STORE"
	[ ! -e store ]
	larder init
	fails 1 already init --dry-run
}

@test "init refuses what this version does not have: private and authenticated stores" {
	for option in --private --authenticated --key-file=k --passphrase-file=p --key-command=c; do
		fails 2 "not in this version" init "$option"
		[ ! -e store ]
	done
}

@test "the first command that writes makes the store" {
	echo x >x
	ran 0 put x x
	[ "$(stat -c %a store)" = 700 ]
	ran 0 cat x
	[ "$output" = x ]
}

@test "without -S and LARDER_STORE the store is in the data folder of the user" {
	unset LARDER_STORE
	echo x >x
	ran 0 put x x
	[ -f "$XDG_DATA_HOME/larder/config" ]
	unset XDG_DATA_HOME
	HOME=$PWD/other ran 0 put x x
	[ -f other/.local/share/larder/config ]
}

@test "a store is found under a relative path too" {
	ran 0 -S here init
	[ -f here/config ]
	fails 1 store -S ./here init
}

@test "init below a folder that is missing is a clear error" {
	ran 1 -S no/such/folder init || ran 3 -S no/such/folder init
	one_line no/such/folder
	[ ! -e no ]
}
