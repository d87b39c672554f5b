# Signals, pipes and terminals
load common

# An endless put, interrupted by $1 once it is under way.
interrupted() {
	larder init
	env --default-signal=INT,TERM,HUP "$LARDER" "${@:2}" put endless - </dev/zero >out 2>err 3>&- &
	pid=$!
	for _ in $(seq 500); do
		[ -n "$(ls -A store/tmp store/packs/* 2>/dev/null | grep -v '^store\|^$')" ] && break
		sleep 0.01
	done
	kill -s "$1" "$pid"
	code=0
	wait "$pid" || code=$?
}

@test "SIGINT in the middle of a put is exit 130 and one line; the store stays right" {
	interrupted INT
	[ "$code" -eq 130 ]
	[ "$(wc -l <err)" -eq 1 ]
	grep -q '^larder: put: .*interrupted' err
	ran 3 cat endless
	ran 0 check --read
	echo x >f
	ran 0 put f f
	ran 0 cat f
}

@test "SIGTERM does the same, with an object when JSON was asked for" {
	interrupted TERM --json
	[ "$code" -eq 130 ]
	jq -e '.error.code == "cancelled" and .exit == 130' out
	ran 0 check
}

@test "SIGKILL leaves nothing that check calls damage" {
	interrupted KILL
	[ "$code" -eq 137 ]
	ran 3 cat endless
	ran 0 check --read
	echo x >f
	ran 0 put f f
}

@test "who waits for standard input can be interrupted" {
	mkfifo pipe
	larder init
	env --default-signal=INT "$LARDER" put x - <pipe >out 2>err 3>&- &
	pid=$!
	exec 8>pipe
	echo something >&8
	for _ in $(seq 300); do
		grep -q pipe_read "/proc/$pid/task/"*/wchan 2>/dev/null && break
		[ "$(cat /proc/$pid/stat 2>/dev/null | cut -d' ' -f3)" = S ] && break
		sleep 0.01
	done
	sleep 0.1
	kill -INT "$pid"
	code=0
	for _ in $(seq 300); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.01
	done
	exec 8>&-
	wait "$pid" || code=$?
	[ "$code" -eq 130 ]
	ran 3 cat x
}

@test "a second signal ends the program at once" {
	mkfifo pipe
	larder init
	env --default-signal=INT "$LARDER" put x - <pipe >out 2>err 3>&- &
	pid=$!
	exec 8>pipe
	sleep 0.1
	kill -INT "$pid"
	kill -INT "$pid" 2>/dev/null || true
	code=0
	wait "$pid" || code=$?
	exec 8>&-
	[ "$code" -eq 130 ]
	ran 0 check
}

@test "a signal that the parent ignores stays ignored" {
	random 2000000 >f
	(
		trap '' INT
		exec "$LARDER" -q put f - < <(cat f; sleep 0.3)
	) 3>&- &
	pid=$!
	sleep 0.1
	kill -INT "$pid"
	wait "$pid"
	ran 0 get f --verify-only
}

@test "a file size limit is an error with a line, not a death" {
	random 3000000 >f
	run --separate-stderr sh -c 'ulimit -f 512; exec "$1" put f f' - "$LARDER"
	[ "$status" -eq 1 ]
	one_line ""
	ran 3 cat f
	ran 0 put f f
	ran 0 check --read
}

@test "a full disk is one line and exit 1, and the store works again when there is room" {
	need_root
	mkdir small
	mount -t tmpfs -o size=40m none small || skip "cannot mount here"
	LARDER_STORE=$PWD/small/store
	random 60000000 1 >big
	echo x >f
	code=0
	larder put f f || code=1
	larder put big big 2>err && code=2
	grep -c '' err >lines
	larder cat f >out || code=3
	larder check --read || code=4
	mount -o remount,size=200m small
	larder put big big || code=5
	larder check --read || code=6
	umount -l small
	[ "$code" -eq 0 ]
	[ "$(cat lines)" = 1 ]
	[ "$(cat out)" = x ]
}

@test "progress is shown on a terminal only, and ends without a trace" {
	command -v script >/dev/null || skip "no script(1)"
	random 50000000 >f
	script -qec "'$LARDER' put f f" typescript </dev/null >/dev/null
	grep -q 'f@1' typescript
	larder put g f 2>err
	[ ! -s err ]
	script -qec "'$LARDER' --no-progress put h f" typescript </dev/null >/dev/null
	run grep -c $'\e\[K' typescript
	[ "$output" = 0 ]
}
