# rm: forget a name or a version
load common

@test "rm NAME forgets all its versions" {
	echo 1 >f
	larder -q put f f
	larder -q put g f
	echo 2 >f
	larder -q put f f
	ran 0 --json rm f
	is .name f
	is .versions 2
	fails 3 f cat f
	fails 3 f log f
	ran 0 ls
	[ "$output" = g@1 ]
}

@test "rm NAME@V forgets one version and keeps the numbers of the others" {
	for i in 1 2 3; do
		echo "$i" >f
		larder -q put f f
	done
	ran 0 rm f@2
	says 'forgot f@2: 1 version'
	fails 3 f cat f@2
	ran 0 cat f@1
	[ "$output" = 1 ]
	ran 0 cat f
	[ "$output" = 3 ]
	ran 0 rm f@3
	ran 0 cat f
	[ "$output" = 1 ]
}

@test "a version number is never given twice" {
	for i in 1 2; do
		echo "$i" >f
		larder -q put f f
	done
	larder -q rm f@2
	echo 3 >f
	ran 0 --json put f f
	is .version 3
}

@test "rm --dry-run forgets nothing" {
	echo 1 >f
	larder -q put f f
	truth >before
	ran 0 --json rm f --dry-run
	is .versions 1
	is .dry_run true
	truth | diff before -
	ran 0 cat f
}

@test "rm of what is not there is exit 3 and changes nothing" {
	echo 1 >f
	larder -q put f f
	truth >before
	fails 3 nosuch rm nosuch
	fails 3 f rm f@7
	fails 2 f rm f@0
	fails 2 '..' rm ../f
	truth | diff before -
}

@test "rm where there is no store is exit 3 and makes none" {
	fails 3 store rm f
	[ ! -e store ]
}

@test "what was forgotten is still there as of a time before" {
	echo 1 >f
	larder -q put f f
	then=$(larder --json log f | head -n 1 | jq -r .created)
	sleep 0.01
	larder -q rm f
	ran 0 --as-of "$then" cat f
	[ "$output" = 1 ]
}

@test "rm refuses --as-of" {
	larder init
	fails 2 as-of --as-of 1d rm f
}
