# Directories keep everything
# FLAVOURS: release asan
load common

roundtrip() {
	larder -q put "$1" "$1"
	larder -q get "$1" "$1.out"
	manifest "$1" >want
	manifest "$1.out" | diff want -
}

@test "modes, times to the nanosecond, empty directories and empty files come back" {
	mkdir -p t/d1/d2 t/locked
	echo x >t/f
	: >t/empty
	touch -d '2001-02-03 04:05:06.123456789Z' t/f
	touch -d '1969-12-31 23:59:58.5Z' t/empty
	chmod 0444 t/f
	chmod 4711 t/empty
	chmod 2775 t/d1
	chmod 1777 t/d1/d2
	chmod 0500 t/locked
	touch -d '1999-01-01 00:00:00.000000001Z' t/locked t/d1 t
	roundtrip t
}

@test "symbolic links come back as they are, also those that lead nowhere or out" {
	mkdir t
	echo x >t/f
	ln -s f t/to-file
	ln -s nowhere/at/all t/dangling
	ln -s /etc/passwd t/absolute
	ln -s ../../.. t/up
	ln -s "$(printf 'x%.0s' $(seq 3000))" t/long
	ln -s . t/loop
	touch -h -d '2001-02-03 04:05:06.7Z' t/dangling
	roundtrip t
}

@test "hard links are linked again" {
	mkdir -p t/sub
	echo shared >t/a
	ln t/a t/b
	ln t/a t/sub/c
	echo alone >t/d
	roundtrip t
	[ "$(stat -c %i t.out/a)" = "$(stat -c %i t.out/b)" ]
	[ "$(stat -c %i t.out/a)" = "$(stat -c %i t.out/sub/c)" ]
}

@test "names of any bytes come back" {
	mkdir t
	for name in $'caf\xe9' $'\xff\xfe' $'new\nline' $'tab\t' ' lead' 'trail ' '-dash' '*' "quo'te" '"' '\back' \
		$'\x01' '#' '~' "$(printf 'n%.0s' $(seq 255))"; do
		echo "$name" >"t/$name"
	done
	mkdir t/$'d\xe9p'
	echo x >t/$'d\xe9p/f'
	roundtrip t
}

@test "extended attributes come back" {
	mkdir t
	echo x >t/f
	setfattr -n user.note -v "hello" t/f 2>/dev/null || skip "no user attributes on this file system"
	setfattr -n user.binary -v 0x00ff00 t/f
	setfattr -n user.empty t/f
	setfattr -n user.dir -v d t
	head -c 3000 /dev/zero | tr '\0' x >value
	setfattr -n user.long -v "$(cat value)" t/f
	roundtrip t
	(cd t && getfattr -R -d -m - .) >want
	(cd t.out && getfattr -R -d -m - .) | diff want -
}

@test "access control lists come back" {
	mkdir t
	echo x >t/f
	setfacl -m u:1234:rw,g:4321:r t/f 2>/dev/null || skip "no ACLs on this file system"
	setfacl -d -m u:1234:rwx t
	roundtrip t
	(cd t && getfacl -R -n .) >want
	(cd t.out && getfacl -R -n .) | diff want -
}

@test "holes stay holes" {
	mkdir t
	truncate -s 50M t/hole
	printf middle | dd of=t/hole bs=1 seek=20000000 conv=notrunc status=none
	roundtrip t
	[ "$(stat -c %b t.out/hole)" -lt 2000 ]
}

@test "fifos, devices, sockets and owners come back as root" {
	need_root
	mkdir t
	mkfifo -m 640 t/fifo
	mknod t/null c 1 3 || skip "cannot make devices here"
	mknod -m 600 t/loop b 7 200
	python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' t/socket
	echo x >t/f
	chown 1234:4321 t/f t/fifo
	chown 2345:5432 t
	ln -s f t/link
	chown -h 77:88 t/link
	roundtrip t
	[ "$(stat -c '%t %T' t.out/null)" = '1 3' ]
	[ "$(stat -c '%t %T' t.out/loop)" = '7 c8' ]
}

@test "a tree a hundred folders deep comes back" {
	deep=t
	for i in $(seq 100); do deep=$deep/d$i; done
	mkdir -p "$deep"
	echo bottom >"$deep/f"
	roundtrip t
}

@test "a folder with many entries comes back" {
	mkdir t
	(cd t && for i in $(seq 3000); do echo "$i" >"file-$i"; done)
	roundtrip t
}

@test "files of every size around the borders come back" {
	mkdir t
	for size in 0 1 4095 4096 4097 16383 16384 65535 65536 65537 262144 1048577 5000000; do
		random "$size" "$size" >"t/r$size"
		head -c "$size" /dev/zero >"t/z$size"
		yes 'some text that repeats' | head -c "$size" >"t/t$size"
	done
	roundtrip t
	ran 0 check --read
}

@test "what is not ours to set is named and the rest is written, exit 5" {
	need_root
	mkdir t
	echo x >t/f
	chown 1234:4321 t/f
	mknod t/null c 1 3 || skip "cannot make devices here"
	larder -q put t t
	setpriv --bounding-set=-chown,-mknod true || skip "cannot drop capabilities"
	run --separate-stderr setpriv --bounding-set=-chown,-mknod "$LARDER" --json get t out
	[ "$status" -eq 5 ]
	is .exit 5
	[ "$(last '.skipped > 0')" = true ]
	[[ $stderr == "larder: get: "* ]]
	cmp t/f out/f
}
