# The mechanical part of the style that a compiler does not see. Lines of at most 100 columns (a tab
# is eight; a line with a sentence in quotes may be longer, so that it can be searched for), tabs for
# indent, nothing behind the end of a line, and calls that are banned: those that
# cannot be used safely everywhere, those that belong behind the seams in the library, printing and
# exiting in the library. Comments and strings are not looked at for calls.
BEGIN {
	unsafe = "strcpy|strcat|strncat|sprintf|vsprintf|gets|strtok|alloca|atoi|atol|tmpnam|mktemp"
	processes = "system|popen"
	seams = "malloc|calloc|realloc|reallocarray|free|strdup|strndup|time|gettimeofday|clock_gettime|rand|srand|random"
	voices = "printf|fprintf|vprintf|puts|putchar|perror|exit|_exit|setlocale|signal|sigaction"
}

function complain(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	bad = 1
}

function columns(s,    i, n, c) {
	n = 0
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		if (c == "\t")
			n += 8 - n % 8
		else if (c < "\200" || c >= "\300") # not the inside of a UTF-8 character
			n++
	}
	return n
}

function ban(code, names,    at, before, call) {
	while (match(code, "(^|[^A-Za-z0-9_.>])(" names ")[ \t]*\\(")) {
		call = substr(code, RSTART, RLENGTH)
		gsub(/[^A-Za-z_]/, "", call)
		complain(call "() is banned here")
		code = substr(code, RSTART + RLENGTH)
	}
}

FNR == 1 {
	comment = 0
	library = FILENAME ~ /^(cas|index|pack|remote)\//
	seamed = library && FILENAME !~ /^cas\/base\/seam\./
	product = library || FILENAME ~ /^cli\//
}

{
	if (length($0) > 100 || index($0, "\t"))
		if (columns($0) > 100 && $0 !~ /"[^"]*[^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"][^"]*"/)
			complain("longer than 100 columns")
	if ($0 ~ /[ \t]$/)
		complain("blanks at the end of the line")
	if ($0 ~ /^        / || $0 ~ /^ +\t/)
		complain("indented by blanks: tabs are eight wide")
	if (index($0, "\r"))
		complain("carriage return")

	# What is left is code: strings and characters emptied, comments gone.
	code = $0
	if (!comment) {
		gsub(/\\\\/, "", code)
		gsub(/\\"/, "", code)
		gsub(/'"'/, "' '", code)
		gsub(/"[^"]*"/, "\"\"", code)
	}
	while (1) {
		if (comment) {
			at = index(code, "*/")
			if (at == 0) { code = ""; break }
			code = substr(code, at + 2)
			comment = 0
		}
		at = index(code, "/*")
		if (at == 0)
			break
		rest = substr(code, at + 2)
		code = substr(code, 1, at - 1)
		end = index(rest, "*/")
		if (end == 0) { comment = 1; break }
		code = code " " substr(rest, end + 2)
	}
	sub(/\/\/.*/, "", code)
	if (code ~ /^[ \t]*$/)
		next
	if (code ~ /^[ \t]*#[ \t]*define[ \t]+NDEBUG/)
		complain("NDEBUG is never set")
	ban(code, unsafe)
	if (product)
		ban(code, processes)
	if (seamed)
		ban(code, seams)
	if (library)
		ban(code, voices)
}

END { exit bad }
