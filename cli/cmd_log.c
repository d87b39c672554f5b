#include "cli/cmd.h"

#include <stdio.h>

#include "cli/out.h"

struct listing {
	bool quiet;
	uint64_t count;
};

static int
print_version(void *context, const struct larder_version_info *v)
{
	struct listing *listing = context;
	char a[OUT_WORD], b[OUT_WORD], c[OUT_WORD], time[OUT_WORD], id[OUT_WORD];

	if (listing->count++ == 0 && !listing->quiet) {
		out_paint(OUT_BOLD);
		out_print("%7s  %-20s  %10s  %10s  %10s  %8s  %s", "version", "created", "bytes",
		    "new", "stored", "files", "id");
		out_paint(OUT_PLAIN);
		out_print("\n");
	}
	out_begin();
	out_text("name", v->name);
	out_number("version", v->version);
	out_text("kind", cli_kind_name(v->kind));
	out_id("id", &v->id);
	out_time("created", v->created_ns);
	out_number("bytes", v->bytes);
	out_number("new_bytes", v->new_bytes);
	out_number("stored_bytes", v->stored_bytes);
	out_number("files", v->files);
	out_id("sha256", v->has_sha256 ? &v->sha256 : NULL);
	out_tags("tags", v->tags, v->tag_count);
	out_text("gid", v->gid);
	out_end();

	out_print("%7llu  %s  %10s  %10s  %10s  %8llu  %s", (unsigned long long)v->version,
	    out_word_time(time, v->created_ns), out_word_bytes(a, v->bytes),
	    out_word_bytes(b, v->new_bytes), out_word_bytes(c, v->stored_bytes),
	    (unsigned long long)v->files, out_word_id(id, &v->id));
	for (size_t i = 0; i < v->tag_count; i++) {
		out_print("%s", i == 0 ? "  " : " ");
		out_name(v->tags[i].key);
		out_print("=");
		out_name(v->tags[i].value);
	}
	out_print("\n");
	return cli_go_on();
}

enum cli_exit
cmd_log(struct cli *cli, int argc, char *argv[])
{
	struct listing listing = { .quiet = cli->quiet };
	enum cli_exit code;
	int rc;

	(void)argc;
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	rc = larder_log(cli->store, argv[0], cli->at_ns, print_version, &listing, &cli->err);
	if (!cli_listed(cli, rc, &code))
		return code;
	out_done(CLI_DONE);
	out_number("count", listing.count);
	out_end();
	return CLI_DONE;
}
