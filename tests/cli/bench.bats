# bench: this machine's rates
load common

@test "bench --quick prints rates beside the reference, and needs no store" {
	ran 0 --json bench --quick
	[ "${#lines[@]}" -gt 3 ]
	has_keys "${lines[0]}" what value unit reference
	[ "$(jq '.value > 0' <<<"${lines[0]}")" = true ]
	is .done true
	[ ! -e store ]
}
