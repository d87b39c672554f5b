# Who may include whom: a line of the table is one arrow of the picture in README.md. A folder
# without a line is refused. Called with the product's files, named from the top.
BEGIN {
	words = "cas/types.h cas/sys.h"
	base = "cas/base " words
	pure = "cas/object " base

	may["cas/types.h"] = ""
	may["cas/sys.h"] = "cas/types.h"
	may["cas/larder.h"] = "cas/types.h"
	may["cas/base"] = base
	may["cas/object"] = pure
	may["cas/archive"] = "cas/archive " pure
	may["cas/record"] = "cas/record " pure
	may["pack"] = "pack " base
	may["index"] = "index " base
	may["remote"] = "remote " base
	may["cas"] = "cas cas/archive cas/record pack index remote " pure
	may["cli"] = "cli cli/serve cas/larder.h"
	may["cli/serve"] = may["cli"]

	# One door per foreign library; the program may use libc and nothing else.
	door["lmdb.h"] = "^index/"
	door["zstd"] = "^pack/codec\\.c$"
	door["zdict"] = "^pack/codec\\.c$"
	door["archive"] = "^cas/archive/foreign\\.c$"
	door["curl/"] = "^remote/http\\.c$"
	door["openssl/"] = "^cas/base/crypto\\.c$"
	door["jansson"] = "^cas/base/json\\.c$"
	door["sqlite3"] = "^cas/record/sqlitefile\\.c$"
	door["microhttpd"] = "^cli/serve/listen\\.c$"
	door["fuse"] = "^cli/mount\\.c$"
	door["dlfcn.h"] = "^(cas/base/lateload|cli/plug)\\.c$"
	door["larder"] = "^$"
}

function folder(path) {
	return path ~ /\// ? substr(path, 1, match(path, /\/[^\/]*$/) - 1) : "."
}

function complain(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	bad = 1
}

# A file with a line of its own, else its folder.
FNR == 1 {
	from = (FILENAME in may) ? FILENAME : folder(FILENAME)
	known = from in may
	if (!known)
		complain("the folder " from " has no line in tests/layers.awk")
	split("", ok)
	if (known) {
		n = split(may[from], list, " ")
		for (i = 1; i <= n; i++)
			ok[list[i]] = 1
	}
}

known && /^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, part, "\"")
	to = part[2]
	if (to !~ /\// || to ~ /\.\./)
		complain("\"" to "\" is not written from the top")
	else if (!(to in ok) && !(folder(to) in ok))
		complain(from " may not include " to)
	else if (to == "cas/base/seam.h" && from != "cas/base")
		complain("cas/base/seam.h belongs to the base: call mem.h, file.h, clock.h, random.h")
	else if (to == "cas/larder.h" && from != "cas" && from !~ /^cli/)
		complain(from " may not include " to)
}

/^[ \t]*#[ \t]*include[ \t]*</ {
	split($0, part, /[<>]/)
	if (FILENAME == "cas/types.h" && part[2] !~ /^std(bool|def|int)\.h$/)
		complain("cas/types.h includes <stdbool.h>, <stddef.h> and <stdint.h> only")
	for (d in door)
		if (index(part[2], d) == 1 && FILENAME !~ door[d])
			complain("<" part[2] "> belongs behind another door")
}

END { exit bad }
