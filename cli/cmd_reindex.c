#include "cli/cmd.h"

#include "cli/out.h"

static void
print_result(const struct cli *cli, const struct larder_reindex_result *r, double took_s)
{
	char a[OUT_WORD], b[OUT_WORD], c[OUT_WORD], d[OUT_WORD];
	bool dry_run = opts_has(&cli->opts, "dry-run");

	out_done(r->damages == 0 ? CLI_DONE : CLI_DAMAGE);
	if (!dry_run) {
		out_number("packs", r->packs);
		out_number("chunks", r->chunks);
		out_number("entries", r->entries);
		out_number("versions", r->versions);
		out_number("damages", r->damages);
	}
	out_real("seconds", took_s);
	if (dry_run)
		out_bool("dry_run", true);
	out_end();

	if (cli->quiet)
		return;
	if (dry_run) {
		out_print("would build the index of ");
		out_name(cli->store_path);
		out_print(" anew\n");
		return;
	}
	out_print("indexed %s packs, %s chunks, %s journal entries, %s versions, %.2f s\n",
	    out_word_count(a, r->packs), out_word_count(b, r->chunks),
	    out_word_count(c, r->entries), out_word_count(d, r->versions), took_s);
	if (r->damages > 0)
		out_print(
		    "%s could not be read; run larder check\n", out_word_count(a, r->damages));
}

enum cli_exit
cmd_reindex(struct cli *cli, int argc, char *argv[])
{
	struct larder_open_options open = LARDER_OPEN_OPTIONS_INIT;
	struct larder_reindex_result result = { 0 };
	struct larder_watch watch;
	double begun_s = cli_seconds();
	int rc;

	(void)argc;
	(void)argv;
	open.no_index = true; /* a bad one must not be in the way of a new one */
	rc = cli_open(cli, &open);
	if (rc < 0)
		return cli_fail(cli, rc);
	if (!opts_has(&cli->opts, "dry-run")) {
		watch = cli_watch(cli);
		rc = larder_reindex(cli->store, &watch, &result, &cli->err);
		out_progress(NULL);
		if (rc < 0)
			return cli_fail(cli, rc);
	}
	print_result(cli, &result, cli_seconds() - begun_s);
	return result.damages == 0 ? CLI_DONE : CLI_DAMAGE;
}
