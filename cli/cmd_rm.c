#include "cli/cmd.h"

#include "cli/out.h"

enum cli_exit
cmd_rm(struct cli *cli, int argc, char *argv[])
{
	bool dry_run = opts_has(&cli->opts, "dry-run");
	uint64_t count = 0;
	int rc;

	(void)argc;
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	rc = larder_rm(cli->store, argv[0], dry_run, &count, &cli->err);
	if (rc < 0)
		return cli_fail(cli, rc);
	out_done(CLI_DONE);
	out_text("name", argv[0]);
	out_number("versions", count);
	if (dry_run)
		out_bool("dry_run", true);
	out_end();
	if (!cli->quiet) {
		out_print(dry_run ? "would forget " : "forgot ");
		out_name(argv[0]);
		out_print(
		    ": %llu %s\n", (unsigned long long)count, count == 1 ? "version" : "versions");
	}
	return CLI_DONE;
}
