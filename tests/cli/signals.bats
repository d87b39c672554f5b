# Signals, pipes and terminals
# FLAVOURS: release asan
load common

# How many bytes a process has read.
has_read() { awk '$1 == "rchar:" { print $2 }' "/proc/$1/io" 2>/dev/null || echo 0; }

# read_more PID BYTES: until it has read so much
read_more() {
	for _ in $(seq 400); do
		[ "$(has_read "$1")" -ge "$2" ] && return
		sleep 0.02
	done
	echo "process $1 reads nothing"
	return 1
}

# ended PID: its exit code into $code; who does not end within ten seconds is killed, and that is a failure
ended() {
	local late
	(sleep 10 && kill -KILL "$1" && echo "still running after ten seconds" >late) 3>&- 2>/dev/null &
	late=$!
	code=0
	wait "$1" || code=$?
	kill "$late" 2>/dev/null || true
	[ ! -e late ] || { cat late; return 1; }
}

# interrupted SIGNAL [OPTION]...: an endless put that gets it once it is under way
interrupted() {
	larder -q init
	env --default-signal=INT,TERM,HUP "$LARDER" "${@:2}" put endless - </dev/zero >out 2>err 3>&- &
	pid=$!
	read_more "$pid" 50000000
	kill -s "$1" "$pid"
	ended "$pid"
}

# Waits for standard input, of which nothing more comes; file 8 is the other end.
waiting() {
	mkfifo pipe
	larder -q init
	env --default-signal=INT "$LARDER" put x - <pipe >out 2>err 3>&- &
	pid=$!
	exec 8>pipe
	head -c 5000 /dev/zero >&8
	# INT is caught, and the main thread is blocked in read(0, ...); 63 is read on arm64
	for _ in $(seq 400); do
		caught=$(awk '$1 == "SigCgt:" { print substr($2, 16) }' "/proc/$pid/status")
		[[ $caught == [2367abef] ]] && grep -Eq '^(0|63) 0x0 ' "/proc/$pid/syscall" && return
		sleep 0.02
	done
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

@test "SIGINT at any point of a put is exit 130" {
	larder -q init
	for round in $(seq 8); do
		env --default-signal=INT "$LARDER" put endless - </dev/zero >out 2>err 3>&- &
		pid=$!
		read_more "$pid" $((round * 20000000))
		kill -INT "$pid"
		ended "$pid"
		[ "$code" -eq 130 ] || { cat err; false; }
		[ "$(wc -l <err)" -eq 1 ]
	done
	ran 0 check --read
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
	waiting
	kill -INT "$pid"
	ended "$pid"
	exec 8>&-
	[ "$code" -eq 130 ]
	[ "$(wc -l <err)" -eq 1 ]
	ran 3 cat x
}

@test "a second signal ends the program at once" {
	waiting
	for _ in $(seq 100); do # two at once may arrive as one
		kill -INT "$pid" 2>/dev/null || break
		sleep 0.02
	done
	ended "$pid"
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
	read_more "$pid" 2000000
	kill -INT "$pid"
	ended "$pid"
	[ "$code" -eq 0 ]
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
