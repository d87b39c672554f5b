#include "cli/cmd.h"

#include "cli/out.h"

static int
print_similar(void *context, const struct larder_similar *s)
{
	uint64_t *count = context;

	++*count;
	out_begin();
	out_text("name", s->name);
	out_real("percent", s->percent);
	out_list("paths", s->paths, s->path_count);
	out_number("paths_total", s->paths_total);
	out_end();

	out_print("%6.1f %%  ", s->percent);
	out_paint(OUT_BOLD);
	out_name(s->name);
	out_paint(OUT_PLAIN);
	out_print("\n");
	for (size_t i = 0; i < s->path_count; i++) {
		out_print("          ");
		out_name(s->paths[i]);
		out_print("\n");
	}
	if (s->paths_total > s->path_count)
		out_print("          and %llu more\n",
		    (unsigned long long)(s->paths_total - s->path_count));
	return cli_go_on();
}

enum cli_exit
cmd_similar(struct cli *cli, int argc, char *argv[])
{
	const struct opt_given *limit = opts_find(&cli->opts, "limit");
	uint64_t count = 0;
	enum cli_exit code;
	int rc;

	(void)argc;
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	rc = larder_similar(cli->store, argv[0], limit == NULL ? 10 : (unsigned)limit->value.number,
	    cli->at_ns, print_similar, &count, &cli->err);
	if (!cli_listed(cli, rc, &code))
		return code;
	out_done(CLI_DONE);
	out_number("count", count);
	out_end();
	return CLI_DONE;
}
