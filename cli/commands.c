/*
 * The table of commands: the program's table of contents. Dispatch (main.c), help
 * (cmd_help.c), man pages (man.c) and completion (cmd_completion.c) come from it,
 * so a row says everything that anybody has to know.
 *
 * Names, options, JSON fields and exit codes are a contract with other programs:
 * rows are added, never changed.
 */
#include "cli/cmd.h"

#include <string.h>

const struct opt global_options[] = {
	{ 'S', "store", OPT_FILE, "STORE",
	    "the store's directory; else $LARDER_STORE, else $XDG_DATA_HOME/larder" },
	{ 0, "index-dir", OPT_FILE, "DIR", "keep the index there instead of in the store" },
	{ 0, "json", OPT_FLAG, NULL, "JSON on standard output, one object a line" },
	{ 'q', "quiet", OPT_FLAG, NULL, "no notices, no progress, no summary; errors only" },
	{ 'v', "verbose", OPT_FLAG, NULL, "say more" },
	{ 'j', "jobs", OPT_COUNT, "N", "workers; else one per processor" },
	{ 0, "as-of", OPT_TIME, "TIME", "look at the store as it was then" },
	{ 0, "color", OPT_CHOICE, "auto|always|never",
	    "colour; auto: on a terminal, unless NO_COLOR is set" },
	{ 0, "no-progress", OPT_FLAG, NULL, "no progress line, also on a terminal" },
	{ 'h', "help", OPT_FLAG, NULL, "say how a command is used" },
	{ 0, "version", OPT_FLAG, NULL, "say which version this is" },
	{ 0 },
};

const struct cmd_field exit_codes[] = {
	{ "0", "done" },
	{ "1", "failed: input or output, or anything without a code of its own" },
	{ "2", "wrong usage" },
	{ "3", "not found" },
	{ "4", "damage was found, by check or by a read that failed verification" },
	{ "5", "partly done: some inputs were left out, each named on standard error" },
	{ "6", "busy: a lock is held by another" },
	{ "7", "refused: permission, or a network file system" },
	{ "130", "interrupted; what was committed stays" },
	{ 0 },
};

/* ---- init ---- */

static const struct opt init_options[] = {
	{ 0, "chunk-size", OPT_SIZE, "SIZE",
	    "mean size of a chunk: 4K, 8K, 16K (default), 32K or 64K" },
	{ 0, "dry-run", OPT_FLAG, NULL, "only say what would be done" },
	{ 0, "private", OPT_LATER, NULL, NULL },
	{ 0, "authenticated", OPT_LATER, NULL, NULL },
	{ 0, "key-file", OPT_LATER, NULL, NULL },
	{ 0, "passphrase-file", OPT_LATER, NULL, NULL },
	{ 0, "key-command", OPT_LATER, NULL, NULL },
	{ 0 },
};
static const struct cmd_field init_totals[] = {
	{ "store", "its path" },
	{ "id", "its id; null with --dry-run" },
	{ "mode", "plain" },
	{ "chunk_size", "mean size of a chunk" },
	{ "dry_run", "present and true with --dry-run" },
	{ 0 },
};

/* ---- put ---- */

static const struct opt put_options[] = {
	{ 0, "exclude", OPT_TEXT, "GLOB",
	    "leave out; without '/' it matches a name, with one a path from the top; repeatable" },
	{ 0, "exclude-from", OPT_FILE, "FILE",
	    "the same, one GLOB a line; empty lines and lines with # are skipped; repeatable" },
	{ 0, "one-file-system", OPT_FLAG, NULL, "stay on the file system of PATH" },
	{ 0, "tag", OPT_PAIR, "K=V", "give the version a tag; repeatable" },
	{ 0, "sha256", OPT_FLAG, NULL, "also compute the SHA-256 of a file over 64 KiB" },
	{ 0, "opaque", OPT_FLAG, NULL, "store an archive as it comes" },
	{ 0, "dry-run", OPT_FLAG, NULL, "read and compare, write nothing" },
	{ 0, "unconfined", OPT_LATER, NULL, NULL },
	{ 0, "codec", OPT_LATER, NULL, NULL },
	{ 0 },
};
static const struct cmd_field put_totals[] = {
	{ "name", "NAME" },
	{ "version", "the version that is now the latest" },
	{ "id", "of the object" },
	{ "kind", "file or dir" },
	{ "bytes", "plain bytes of all files" },
	{ "new_bytes", "of content that was not known before" },
	{ "stored_bytes", "added on disk" },
	{ "files", "how many things that are not directories" },
	{ "unchanged", "true: equal to the latest version, no new one was made" },
	{ "sha256", "of files up to 64 KiB, and with --sha256; else null" },
	{ "seconds", "how long it took" },
	{ "skipped", "inputs that were left out or changed while they were read" },
	{ "dry_run", "present and true with --dry-run" },
	{ 0 },
};

/* ---- get ---- */

static const struct opt get_options[] = {
	{ 0, "verify-only", OPT_FLAG, NULL,
	    "read and verify everything, write nothing; DEST may be left out" },
	{ 0, "overwrite", OPT_FLAG, NULL, "replace what is at DEST" },
	{ 0, "dry-run", OPT_FLAG, NULL, "the same as --verify-only" },
	{ 0, "unpack", OPT_LATER, NULL, NULL },
	{ 0, "format", OPT_LATER, NULL, NULL },
	{ 0, "unconfined", OPT_LATER, NULL, NULL },
	{ 0, "as-root-attrs", OPT_LATER, NULL, NULL },
	{ 0 },
};
static const struct cmd_field get_totals[] = {
	{ "name", "NAME; null for an object by id" },
	{ "version", "null for an object by id" },
	{ "id", "of the object" },
	{ "bytes", "plain bytes of all files" },
	{ "files", "how many things that are not directories" },
	{ "seconds", "how long it took" },
	{ "skipped", "entries or attributes that could not be set" },
	{ 0 },
};

/* ---- looking ---- */

static const struct cmd_field cat_totals[] = {
	{ "name", "NAME; null for an object by id" },
	{ "version", "null for an object by id" },
	{ "id", "of the object" },
	{ "bytes", "how many were written" },
	{ 0 },
};

static const struct opt ls_options[] = {
	{ 'l', "long", OPT_FLAG, NULL, "with kind or mode, owner, size, time" },
	{ 'R', "recursive", OPT_FLAG, NULL, "also what lies deeper inside" },
	{ 0, "unconfined", OPT_LATER, NULL, NULL },
	{ 0 },
};
static const struct cmd_field ls_results[] = {
	{ "name", "of names: the name" },
	{ "version", "its latest version" },
	{ "kind", "file or dir" },
	{ "bytes", "plain bytes" },
	{ "created", "when the version was made" },
	{ "id", "of the object; null for what has no content" },
	{ "files", "how many things that are not directories" },
	{ "path", "of entries inside: the path from there" },
	{ "type", "file, dir, symlink, fifo, char, block or socket" },
	{ "mode", "permission bits, four octal digits" },
	{ "mtime", "time of the last change" },
	{ "uid gid user group", "owner; user and group may be null" },
	{ "target", "of a symlink; else null" },
	{ 0 },
};
static const struct cmd_field count_totals[] = {
	{ "count", "how many lines came before" },
	{ 0 },
};

static const struct cmd_field log_results[] = {
	{ "name", "NAME" },
	{ "version", "number of the version" },
	{ "kind", "file or dir" },
	{ "id", "of the object" },
	{ "created", "when it was made" },
	{ "bytes", "plain bytes" },
	{ "new_bytes", "of content that was not known before it" },
	{ "stored_bytes", "that it added on disk" },
	{ "files", "how many things that are not directories" },
	{ "sha256", "null when it is not known" },
	{ "tags", "an object" },
	{ "gid", "its global id, equal in every copy of the store" },
	{ 0 },
};

static const struct cmd_field diff_results[] = {
	{ "path", "below A and B" },
	{ "change", "added, removed, changed, or attrs: same content, other attributes" },
	{ "type", "file, dir, symlink, fifo, char, block or socket" },
	{ 0 },
};

static const struct opt find_options[] = {
	{ 0, "in", OPT_TEXT, "PREFIX", "only names that start with it" },
	{ 0, "content-id", OPT_ID, "HEX", "only where this content stands" },
	{ 0 },
};
static const struct cmd_field find_results[] = {
	{ "name", "the name" },
	{ "version", "the version" },
	{ "path", "inside it; empty when the name itself is meant" },
	{ "type", "file, dir, symlink, fifo, char, block or socket" },
	{ "bytes", "plain bytes" },
	{ "id", "of the content" },
	{ 0 },
};

static const struct opt similar_options[] = {
	{ 0, "limit", OPT_COUNT, "N", "at most so many names; else 10" },
	{ 0 },
};
static const struct cmd_field similar_results[] = {
	{ "name", "the similar name" },
	{ "percent", "of the bytes of both that both have" },
	{ "paths", "paths that differ, at most 20" },
	{ "paths_total", "how many differ" },
	{ 0 },
};

/* ---- forgetting and upkeep ---- */

static const struct opt rm_options[] = {
	{ 0, "dry-run", OPT_FLAG, NULL, "only say what would be forgotten" },
	{ 0 },
};
static const struct cmd_field rm_totals[] = {
	{ "name", "what was given" },
	{ "versions", "how many versions went" },
	{ "dry_run", "present and true with --dry-run" },
	{ 0 },
};

static const struct cmd_field status_totals[] = {
	{ "store id writer mode format chunk_size", "the store itself" },
	{ "names", "names with at least one version" },
	{ "versions", "of all names" },
	{ "objects chunks records cache_entries", "what it holds" },
	{ "bytes", "plain bytes of all versions" },
	{ "stored_bytes", "packs and journal on disk" },
	{ "index_bytes", "the index, which can be rebuilt" },
	{ "packs", "pack files" },
	{ "ratio", "bytes by stored_bytes; null when nothing is stored" },
	{ "last_check", "time; null = never" },
	{ "last_check_clean", "null = never checked" },
	{ "remotes", "an empty list in this version" },
	{ "healthy", "true, or" },
	{ "cause", "what is wrong; else null" },
	{ 0 },
};

static const struct opt check_options[] = {
	{ 0, "read", OPT_FLAG, NULL, "decode and hash every byte" },
	{ 0, "sample", OPT_PERCENT, "PERCENT", "read only so much of the packs, chosen at random" },
	{ 0 },
};
static const struct cmd_field check_results[] = {
	{ "damage", "one sentence" },
	{ "names", "NAME@VERSION//path that it hits, at most 20" },
	{ "names_total", "how many it hits" },
	{ 0 },
};
static const struct cmd_field check_totals[] = {
	{ "packs segments chunks versions", "how many were checked" },
	{ "bytes", "plain bytes that were hashed" },
	{ "damages", "how many were found" },
	{ "journal_tail", "bytes of an unfinished write that nobody was promised" },
	{ "seconds", "how long it took" },
	{ 0 },
};

static const struct opt reindex_options[] = {
	{ 0, "dry-run", OPT_FLAG, NULL, "only say what would be done" },
	{ 0 },
};
static const struct cmd_field reindex_totals[] = {
	{ "packs chunks entries versions", "what the new index holds" },
	{ "damages", "packs or entries that could not be read" },
	{ "seconds", "how long it took" },
	{ "dry_run", "present and true with --dry-run" },
	{ 0 },
};

/* ---- the program itself ---- */

static const struct opt bench_options[] = {
	{ 0, "quick", OPT_FLAG, NULL, "a few seconds, less exact" },
	{ 0 },
};
static const struct cmd_field bench_results[] = {
	{ "what", "what was measured" },
	{ "value", "this machine" },
	{ "unit", "of both figures" },
	{ "reference", "the reference machine, two cores of a server of 2019; null = none" },
	{ 0 },
};

static const struct cmd_field version_totals[] = {
	{ "version", "of the program" },
	{ 0 },
};

static const struct opt help_options[] = {
	{ 0, "man", OPT_FLAG, NULL, NULL }, /* for the build: the page as troff */
	{ 0 },
};
static const struct cmd_field help_results[] = {
	{ "command", "its name" },
	{ "args help options", "its row of the table" },
	{ 0 },
};

/* In the order in which a newcomer meets them. `larder help` prints this. */
const struct cmd commands[] = {
	{ "init", "", "Create a store", 0, 0, 0, init_options, NULL, init_totals,
	    "Every command that writes creates the store too; init is for other than the default "
	    "settings. Where there is a store already nothing changes, and the exit code is 1.",
	    cmd_init },
	{ "put", "NAME PATH|-", "Store a file, a directory or standard input", 2, 2, 0, put_options,
	    NULL, put_totals,
	    "It becomes the next version of NAME. When it equals the latest version (for a "
	    "directory: "
	    "content and attributes) no new version is made. What cannot be read is named on "
	    "standard "
	    "error, the rest is stored, and the exit code is 5.",
	    cmd_put },
	{ "get", "NAME[@V][//PATH] DEST|-", "Write exactly what was put", 1, 2,
	    CMD_AS_OF | CMD_BYTES_DASH, get_options, NULL, get_totals,
	    "DEST must not exist, unless --overwrite is given. Everything is written beside it and "
	    "moved "
	    "into place at the end. With - a file's bytes go to standard output, and JSON to "
	    "standard "
	    "error.",
	    cmd_get },
	{ "cat", "NAME[@V][//PATH]", "Write the bytes of one file to standard output", 1, 1,
	    CMD_AS_OF | CMD_BYTES, NULL, NULL, cat_totals, "JSON goes to standard error.",
	    cmd_cat },
	{ "ls", "[PREFIX | NAME[@V]//[PATH]]", "List names, or what is inside one", 0, 1, CMD_AS_OF,
	    ls_options, ls_results, count_totals,
	    "Without '//' it lists the names that start with PREFIX, each with its latest version; "
	    "with "
	    "'//' the entries inside.",
	    cmd_ls },
	{ "log", "NAME", "List the versions of a name, newest first", 1, 1, CMD_AS_OF, NULL,
	    log_results, count_totals, "", cmd_log },
	{ "diff", "A B", "List what becomes of A on the way to B", 2, 2, CMD_AS_OF, NULL,
	    diff_results, count_totals,
	    "A and B are NAME, NAME@V, NAME//PATH or id:HEX. The exit code is 0 whether they "
	    "differ or "
	    "not.",
	    cmd_diff },
	{ "find", "[GLOB]", "Say where a path or a content stands", 0, 1, CMD_AS_OF, find_options,
	    find_results, count_totals,
	    "Over all names and versions. A GLOB without '/' matches a last component. When "
	    "nothing is "
	    "found the exit code is 3.",
	    cmd_find },
	{ "similar", "NAME", "List the names that are most like one", 1, 1, CMD_AS_OF,
	    similar_options, similar_results, count_totals, "", cmd_similar },
	{ "rm", "NAME[@V]", "Forget a name, or one version of it", 1, 1, 0, rm_options, NULL,
	    rm_totals, "The content stays in the store.", cmd_rm },
	{ "status", "", "Say what the store holds and how it is", 0, 0, 0, NULL, NULL,
	    status_totals,
	    "The exit code is 0 when the store is healthy, 4 when the last check found damage, "
	    "else 1.",
	    cmd_status },
	{ "check", "", "Look for damage", 0, 0, 0, check_options, check_results, check_totals,
	    "Without options the structure is checked; with --read every byte. --sample reads too. "
	    "Each "
	    "damage is one line with the names that it hits, and the exit code is 4.",
	    cmd_check },
	{ "reindex", "", "Build the index anew from packs and journal", 0, 0, 0, reindex_options,
	    NULL, reindex_totals,
	    "An index that is missing or damaged is rebuilt without being asked.", cmd_reindex },
	{ "bench", "", "Measure this machine", 0, 0, 0, bench_options, bench_results, count_totals,
	    "The rates of hashing, cutting, compressing and looking up. Needs no store.",
	    cmd_bench },
	{ "completion", "bash|zsh|fish", "Print a script that completes command lines", 1, 1,
	    CMD_PLAIN | CMD_BYTES, NULL, NULL, NULL,
	    "For bash: larder completion bash > ~/.local/share/bash-completion/completions/larder",
	    cmd_completion },
	{ "version", "", "Say which version this is", 0, 0, CMD_PLAIN, NULL, NULL, version_totals,
	    "", cmd_version },
	{ "help", "[COMMAND]", "Say how larder or a command is used", 0, 1, CMD_PLAIN, help_options,
	    help_results, NULL, "", cmd_help },
	{ 0 },
};

const struct cmd *
command_named(const char *name)
{
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++)
		if (strcmp(cmd->name, name) == 0)
			return cmd;
	return NULL;
}

const char *
command_nearest(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 4; /* three edits are still a slip */

	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		unsigned d = opt_distance(name, cmd->name);

		if (d < best && d < strlen(cmd->name)) {
			best = d;
			nearest = cmd->name;
		}
	}
	return nearest;
}
