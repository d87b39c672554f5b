#include "cli/cmd.h"

#include "cli/out.h"

static int
print_place(void *context, const struct larder_found *found)
{
	uint64_t *count = context;

	++*count;
	out_begin();
	out_text("name", found->name);
	out_number("version", found->version);
	out_text("path", found->path);
	out_text("type", cli_type_name(found->type));
	out_number("bytes", found->bytes);
	out_id("id", &found->id);
	out_end();

	/* What is printed can be given to cat and get as it is. */
	out_name(found->name);
	out_print("@%llu", (unsigned long long)found->version);
	if (found->path[0] != '\0') {
		out_print("//");
		out_name(found->path);
	}
	out_print("\n");
	return cli_go_on();
}

enum cli_exit
cmd_find(struct cli *cli, int argc, char *argv[])
{
	const struct opt_given *content = opts_find(&cli->opts, "content-id");
	const char *prefix = opts_text(&cli->opts, "in"), *glob = argc > 0 ? argv[0] : NULL;
	const char *what = glob == NULL && content != NULL ? content->text : glob;
	uint64_t count = 0;
	enum cli_exit code;
	int rc;

	if (what == NULL)
		return cli_usage(cli, "what to look for is missing: a GLOB or --content-id");
	if (what[0] == '\0')
		return cli_usage(cli, "the GLOB is empty");
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	rc = larder_find(cli->store, glob, prefix == NULL ? "" : prefix,
	    content == NULL ? NULL : &content->value.id, cli->at_ns, print_place, &count,
	    &cli->err);
	if (rc == LARDER_OK && count == 0) {
		usage_set(&cli->err, "find %.200s: nothing is stored there", what);
		rc = LARDER_ERR_NOT_FOUND;
	}
	if (!cli_listed(cli, rc, &code))
		return code;
	out_done(CLI_DONE);
	out_number("count", count);
	out_end();
	return CLI_DONE;
}
