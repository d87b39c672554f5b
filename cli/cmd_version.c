#include "cli/cmd.h"

#include "cli/out.h"

enum cli_exit
cmd_version(struct cli *cli, int argc, char *argv[])
{
	(void)cli;
	(void)argc;
	(void)argv;
	out_done(CLI_DONE);
	out_text("version", larder_version());
	out_end();
	out_print("larder %s\n", larder_version());
	return CLI_DONE;
}
