#include "cli/cmd.h"

#include <stdio.h>

#include "cli/out.h"

/* What init would meet: nothing is made, no index is opened. */
static enum cli_exit
rehearse(struct cli *cli, uint32_t chunk_size)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	int rc;

	options.no_index = true;
	rc = cli_open(cli, &options);
	if (rc == LARDER_OK) {
		usage_set(&cli->err, "store %.300s: there is a store already", cli->store_path);
		usage_hint(&cli->err, "nothing would be changed");
		return cli_fail(cli, LARDER_ERR_EXISTS);
	}
	if (rc != LARDER_ERR_NOT_FOUND)
		return cli_fail(cli, rc);
	out_done(CLI_DONE);
	out_text("store", cli->store_path);
	out_id("id", NULL);
	out_text("mode", "plain");
	out_number("chunk_size", chunk_size == 0 ? 16 * 1024 : chunk_size);
	out_bool("dry_run", true);
	out_end();
	if (!cli->quiet) {
		out_print("would create a store at ");
		out_name(cli->store_path);
		out_print("\n");
	}
	return CLI_DONE;
}

enum cli_exit
cmd_init(struct cli *cli, int argc, char *argv[])
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store_info info = LARDER_STORE_INFO_INIT;
	const struct opt_given *size = opts_find(&cli->opts, "chunk-size");
	int rc;

	(void)argc;
	(void)argv;
	if (size != NULL) {
		uint64_t n = size->value.number;

		/* Looked at here too, so that a dry run says what a real one would. */
		if (n < 4096 || n > 65536 || (n & (n - 1)) != 0)
			return cli_usage(cli,
			    "option --chunk-size: %s is not a power of two from 4K to 64K",
			    size->text);
		options.chunk_size = (uint32_t)n;
	}
	if (opts_has(&cli->opts, "dry-run"))
		return rehearse(cli, options.chunk_size);

	options.create = true;
	options.create_exclusive = true;
	rc = cli_open(cli, &options);
	if (rc < 0)
		return cli_fail(cli, rc);
	larder_store_info(&info, cli->store);
	out_done(CLI_DONE);
	out_text("store", info.path);
	out_text("id", info.id);
	out_text("mode", info.mode);
	out_number("chunk_size", info.chunk_size);
	out_end();
	if (!cli->quiet) {
		out_print("created store ");
		out_name(info.path);
		out_print("\n");
	}
	return CLI_DONE;
}
