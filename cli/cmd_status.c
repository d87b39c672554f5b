#include "cli/cmd.h"

#include <string.h>

#include "cli/out.h"

/* 0 healthy, else by the cause: damage that a check has found, or anything else. */
static enum cli_exit
health(const struct larder_status_info *s)
{
	if (s->last_check_ns != 0 && !s->last_check_clean)
		return CLI_DAMAGE;
	return s->cause[0] == '\0' ? CLI_DONE : CLI_FAILED;
}

static void
print_json(
    const struct larder_store_info *info, const struct larder_status_info *s, enum cli_exit code)
{
	out_done(code);
	out_text("store", info->path);
	out_text("id", info->id);
	out_text("writer", info->writer);
	out_text("mode", info->mode);
	out_number("format", info->format);
	out_number("chunk_size", info->chunk_size);
	out_number("names", s->names);
	out_number("versions", s->versions);
	out_number("objects", s->objects);
	out_number("chunks", s->chunks);
	out_number("records", s->records);
	out_number("cache_entries", s->cache_entries);
	out_number("bytes", s->bytes);
	out_number("stored_bytes", s->stored_bytes);
	out_number("index_bytes", s->index_bytes);
	out_number("packs", s->packs);
	if (s->stored_bytes == 0)
		out_text("ratio", NULL);
	else
		out_real("ratio", (double)s->bytes / (double)s->stored_bytes);
	out_time("last_check", s->last_check_ns);
	if (s->last_check_ns == 0)
		out_text("last_check_clean", NULL);
	else
		out_bool("last_check_clean", s->last_check_clean);
	out_list("remotes", NULL, 0);
	out_bool("healthy", code == CLI_DONE);
	out_text("cause", s->cause[0] == '\0' ? NULL : s->cause);
	out_end();
}

static void
print_count(const char *what, uint64_t count)
{
	char word[OUT_WORD];

	out_print("%-12s %s\n", what, out_word_count(word, count));
}

static void
print_text(
    const struct larder_store_info *info, const struct larder_status_info *s, enum cli_exit code)
{
	char word[OUT_WORD];

	out_print("%-12s ", "store");
	out_name(info->path);
	out_print("\n%-12s %s\n%-12s %s, chunks of %u KiB, format %u\n", "id", info->id, "mode",
	    info->mode, (unsigned)(info->chunk_size / 1024), info->format);
	print_count("names", s->names);
	print_count("versions", s->versions);
	print_count("objects", s->objects);
	print_count("chunks", s->chunks);
	out_print("%-12s %s\n", "bytes in", out_word_bytes(word, s->bytes));
	out_print("%-12s %s in %llu %s\n", "stored", out_word_bytes(word, s->stored_bytes),
	    (unsigned long long)s->packs, s->packs == 1 ? "pack" : "packs");
	if (s->stored_bytes > 0)
		out_print("%-12s %.1f : 1\n", "ratio", (double)s->bytes / (double)s->stored_bytes);
	out_print("%-12s %s\n", "index", out_word_bytes(word, s->index_bytes));
	out_print("%-12s %s%s\n", "last check",
	    s->last_check_ns == 0 ? "never" : out_word_time(word, s->last_check_ns),
	    s->last_check_ns == 0 ? ""
	    : s->last_check_clean ? ", clean"
				  : ", damage was found");
	out_print("%-12s ", "health");
	out_paint(code == CLI_DONE ? OUT_GREEN : OUT_RED);
	if (code == CLI_DONE)
		out_print("good");
	else if (s->cause[0] != '\0')
		out_message(s->cause);
	else
		out_print("damage was found by the last check");
	out_paint(OUT_PLAIN);
	out_print("\n");
}

enum cli_exit
cmd_status(struct cli *cli, int argc, char *argv[])
{
	struct larder_store_info info = LARDER_STORE_INFO_INIT;
	struct larder_status_info status = LARDER_STATUS_INFO_INIT;
	enum cli_exit code;
	int rc;

	(void)argc;
	(void)argv;
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	larder_store_info(&info, cli->store);
	rc = larder_status(&status, cli->store, &cli->err);
	if (rc < 0)
		return cli_fail(cli, rc);
	code = health(&status);
	print_json(&info, &status, code);
	if (!out_is_json() && !cli->quiet)
		print_text(&info, &status, code);
	return code;
}
