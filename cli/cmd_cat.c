#include "cli/cmd.h"

#include "cli/out.h"

enum cli_exit
cmd_cat(struct cli *cli, int argc, char *argv[])
{
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result = { 0 };
	int rc;

	(void)argc;
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	options.at_ns = cli->at_ns;
	options.watch.cancel = &cli_cancel;
	rc = larder_get_fd(cli->store, argv[0], 1, &options, &result, &cli->err);
	if (rc < 0)
		return cli_fail(cli, rc);
	out_done(CLI_DONE);
	out_text("name", result.name[0] == '\0' ? NULL : result.name);
	if (result.name[0] == '\0')
		out_text("version", NULL);
	else
		out_number("version", result.version);
	out_id("id", &result.id);
	out_number("bytes", result.bytes);
	out_end();
	return CLI_DONE;
}
