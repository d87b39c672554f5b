#include "cli/cmd.h"

#include "cli/out.h"

static int
print_change(void *context, const struct larder_diff *diff)
{
	static const struct {
		const char *word;
		enum out_paint paint;
	} changes[] = {
		[LARDER_ADDED] = { "added", OUT_GREEN },
		[LARDER_REMOVED] = { "removed", OUT_RED },
		[LARDER_CHANGED] = { "changed", OUT_YELLOW },
		[LARDER_ATTRS] = { "attrs", OUT_CYAN },
	};
	uint64_t *count = context;

	++*count;
	out_begin();
	out_text("path", diff->path);
	out_text("change", changes[diff->change].word);
	out_text("type", cli_type_name(diff->type));
	out_end();

	out_paint(changes[diff->change].paint);
	out_print("%-8s ", changes[diff->change].word);
	out_name(diff->path);
	out_paint(OUT_PLAIN);
	out_print("\n");
	return cli_go_on();
}

enum cli_exit
cmd_diff(struct cli *cli, int argc, char *argv[])
{
	uint64_t count = 0;
	enum cli_exit code;
	int rc;

	(void)argc;
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	rc = larder_diff(cli->store, argv[0], argv[1], cli->at_ns, print_change, &count, &cli->err);
	if (!cli_listed(cli, rc, &code))
		return code;
	out_done(CLI_DONE);
	out_number("count", count);
	out_end();
	return CLI_DONE;
}
