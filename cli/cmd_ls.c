#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"

struct listing {
	bool is_long;
	uint64_t count;
};

/* ---- names ---- */

static int
print_name(void *context, const struct larder_version_info *v)
{
	struct listing *listing = context;
	char bytes[OUT_WORD], time[OUT_WORD], id[OUT_WORD];

	listing->count++;
	out_begin();
	out_text("name", v->name);
	out_number("version", v->version);
	out_text("kind", cli_kind_name(v->kind));
	out_number("bytes", v->bytes);
	out_time("created", v->created_ns);
	out_id("id", &v->id);
	out_number("files", v->files);
	out_end();

	if (listing->is_long)
		out_print("%-7s  %10s  %s  %-12s  ", cli_kind_name(v->kind),
		    out_word_bytes(bytes, v->bytes), out_word_time(time, v->created_ns),
		    out_word_id(id, &v->id));
	out_name(v->name);
	out_print("@%llu\n", (unsigned long long)v->version);
	return cli_go_on();
}

/* ---- entries ---- */

/* "drwxr-sr-t" as ls writes it. */
static void
mode_letters(char out[11], enum larder_entry_type type, uint32_t mode)
{
	static const char types[] = "-dlpcbs", bits[] = "rwxrwxrwx";

	out[0] = (size_t)type < sizeof types - 1 ? types[type] : '?';
	for (unsigned i = 0; i < 9; i++)
		out[1 + i] = '-';
	for (unsigned i = 0; i < 9; i++)
		if ((mode & (0400u >> i)) != 0)
			out[1 + i] = bits[i];
	for (unsigned i = 0; i < 3; i++)
		if ((mode & (04000u >> i)) != 0)
			out[3 + 3 * i] = out[3 + 3 * i] == 'x' ? "sst"[i] : "SST"[i];
	out[10] = '\0';
}

/* A name where there is one, else the number. */
static void
print_owner(const char *name, uint32_t number)
{
	if (name[0] != '\0') {
		out_name(name);
		for (size_t len = strlen(name); len < 8; len++)
			out_print(" ");
		out_print(" ");
	} else {
		out_print("%-8lu ", (unsigned long)number);
	}
}

static void
print_entry_line(const struct larder_entry *e, bool is_long)
{
	char mode[11], time[OUT_WORD];

	if (is_long) {
		mode_letters(mode, e->type, e->mode);
		out_print("%s ", mode);
		print_owner(e->user, e->uid);
		print_owner(e->group, e->gid);
		out_print(
		    "%12llu %s ", (unsigned long long)e->bytes, out_word_time(time, e->mtime_ns));
	}
	if (e->type == LARDER_ENTRY_DIR)
		out_paint(OUT_BLUE);
	else if (e->type == LARDER_ENTRY_SYMLINK)
		out_paint(OUT_CYAN);
	else if (e->executable)
		out_paint(OUT_GREEN);
	out_name(e->path);
	out_paint(OUT_PLAIN);
	if (is_long && e->type == LARDER_ENTRY_SYMLINK) {
		out_print(" -> ");
		out_name(e->target);
	}
	out_print("\n");
}

static int
print_entry(void *context, const struct larder_entry *e)
{
	struct listing *listing = context;
	char mode[8];

	listing->count++;
	if (!out_is_json()) {
		print_entry_line(e, listing->is_long);
		return cli_go_on();
	}
	snprintf(mode, sizeof mode, "%04o", (unsigned)(e->mode & 07777));
	out_begin();
	out_text("path", e->path);
	out_text("type", cli_type_name(e->type));
	out_text("mode", mode);
	out_number("bytes", e->bytes);
	out_time("mtime", e->mtime_ns);
	out_id("id", &e->id);
	out_number("uid", e->uid);
	out_number("gid", e->gid);
	out_text("user", e->user[0] == '\0' ? NULL : e->user);
	out_text("group", e->group[0] == '\0' ? NULL : e->group);
	out_text("target", e->type == LARDER_ENTRY_SYMLINK ? e->target : NULL);
	out_end();
	return cli_go_on();
}

enum cli_exit
cmd_ls(struct cli *cli, int argc, char *argv[])
{
	struct listing listing = { .is_long = opts_has(&cli->opts, "long") };
	const char *where = argc > 0 ? argv[0] : "";
	bool recursive = opts_has(&cli->opts, "recursive");
	enum cli_exit code;
	int rc;

	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	if (strstr(where, "//") != NULL || strncmp(where, "id:", 3) == 0)
		rc = larder_entries(
		    cli->store, where, cli->at_ns, recursive, print_entry, &listing, &cli->err);
	else
		rc = larder_names(cli->store, where, cli->at_ns, print_name, &listing, &cli->err);
	if (!cli_listed(cli, rc, &code))
		return code;
	out_done(CLI_DONE);
	out_number("count", listing.count);
	out_end();
	return CLI_DONE;
}
