# log: the versions of a name, newest first
load common

@test "log lists versions newest first, with new bytes of each" {
	random 1000 1 >f
	larder put f f
	{ cat f; random 500 2; } >g
	larder put f g
	ran 0 --json log f
	[ "${#lines[@]}" -eq 3 ]
	[ "$(jq -c '[.version, .bytes]' <<<"${lines[0]}")" = '[2,1500]' ]
	[ "$(jq -c '[.version, .bytes, .new_bytes]' <<<"${lines[1]}")" = '[1,1000,1000]' ]
	has_keys "${lines[0]}" name version kind id created bytes new_bytes stored_bytes files sha256 tags gid
	is .count 2
}

@test "log in words is a table" {
	echo x >f
	larder put f f --tag k=v
	ran 0 log f
	[ "${#lines[@]}" -eq 2 ]
	[[ ${lines[0]} == *version*created*bytes*new*stored*files*id* ]]
	[[ ${lines[1]} == *1*2\ B*k=v ]]
}

@test "log of a name that is not there is exit 3" {
	larder init
	fails 3 nosuch log nosuch
	ran 3 --json log nosuch
	is .error.code not_found
}

@test "log of names that are not allowed is exit 2" {
	larder init
	for name in ../x '' /x x/; do
		ran 2 log "$name"
	done
}

@test "log --as-of ends where the time does" {
	echo 1 >f
	larder put f f
	sleep 0.01
	then=$(larder --json log f | head -n 1 | jq -r .created)
	echo 2 >f
	larder put f f
	ran 0 --json log f --as-of "$then"
	is .count 1
	fails 3 f log f --as-of 2000-01-01T00:00:00+01:00
}
