# The names of the functions that headers declare LARDER_API, one per line.
function flush(text,    name) {
	if (text !~ /^[ \t]*LARDER_API/)
		return
	sub(/^[ \t]*LARDER_API/, "", text)
	gsub(/LARDER_MUST_USE|__attribute__[ \t]*\(\(([^()]|\([^()]*\))*\)\)/, "", text)
	if (match(text, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/) == 0)
		return
	name = substr(text, RSTART, RLENGTH)
	sub(/[ \t]*\($/, "", name)
	print name
}

FNR == 1 { comment = 0; continued = 0; text = "" }

{
	line = $0
	while (1) {
		if (comment) {
			at = index(line, "*/")
			if (at == 0) { line = ""; break }
			line = substr(line, at + 2)
			comment = 0
		}
		at = index(line, "/*")
		if (at == 0)
			break
		rest = substr(line, at + 2)
		line = substr(line, 1, at - 1)
		end = index(rest, "*/")
		if (end == 0) { comment = 1; break }
		line = line " " substr(rest, end + 2)
	}
	sub(/\/\/.*/, "", line)
	was_continued = continued
	continued = line ~ /\\$/
	if (was_continued || continued || line ~ /^[ \t]*#/ || line ~ /^[ \t]*extern "C"/)
		next
	n = split(line, piece, ";")
	for (i = 1; i <= n; i++) {
		text = text " " piece[i]
		if (i < n) {
			flush(text)
			text = ""
		}
	}
}
