#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"

static void
print_result(const struct cli *cli, const char *dest, const struct larder_get_result *r,
    double took_s, enum cli_exit code)
{
	char a[OUT_WORD], b[OUT_WORD], c[OUT_WORD];

	out_done(code);
	out_text("name", r->name[0] == '\0' ? NULL : r->name);
	if (r->name[0] == '\0')
		out_text("version", NULL);
	else
		out_number("version", r->version);
	out_id("id", &r->id);
	out_number("bytes", r->bytes);
	out_number("files", r->files);
	out_real("seconds", took_s);
	out_number("skipped", r->skipped);
	out_end();

	/* Beside bytes on stdout there is no place for a sentence. */
	if (cli->quiet || (dest != NULL && strcmp(dest, "-") == 0))
		return;
	out_name(r->name[0] == '\0' ? cli->opts.operands[0] : r->name);
	if (r->name[0] != '\0')
		out_print("@%llu", (unsigned long long)r->version);
	if (dest == NULL) {
		out_print(": verified");
	} else {
		out_print(" -> ");
		out_name(dest);
	}
	out_print("%s %s in %s %s, %.2f s (%s)\n", dest == NULL ? "" : ":",
	    out_word_bytes(a, r->bytes), out_word_count(b, r->files),
	    r->files == 1 ? "file" : "files", took_s, out_word_rate(c, r->bytes, took_s));
}

enum cli_exit
cmd_get(struct cli *cli, int argc, char *argv[])
{
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result = { 0 };
	const char *spec = argv[0], *dest = argc > 1 ? argv[1] : NULL;
	double begun_s = cli_seconds();
	enum cli_exit code;
	int rc;

	options.verify_only =
	    opts_has(&cli->opts, "verify-only") || opts_has(&cli->opts, "dry-run");
	options.overwrite = opts_has(&cli->opts, "overwrite");
	options.at_ns = cli->at_ns;
	if (options.verify_only)
		dest = NULL;
	else if (dest == NULL || dest[0] == '\0')
		return cli_usage(
		    cli, "another operand is missing: where to write it, or - for standard output");

	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	options.watch = cli_watch(cli);
	if (dest != NULL && strcmp(dest, "-") == 0)
		rc = larder_get_fd(cli->store, spec, 1, &options, &result, &cli->err);
	else
		rc = larder_get(
		    cli->store, spec, dest == NULL ? "" : dest, &options, &result, &cli->err);
	out_progress(NULL);
	if (rc < 0 && rc != LARDER_ERR_PARTIAL)
		return cli_fail(cli, rc);
	code = cli_exit_of(rc);
	print_result(cli, dest, &result, cli_seconds() - begun_s, code);
	return code;
}
