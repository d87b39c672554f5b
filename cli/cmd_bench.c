#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"

struct listing {
	bool quiet;
	uint64_t count;
};

/* Three figures are all that a measurement is worth. */
static void
print_figure(char word[OUT_WORD], double value)
{
	if (value >= 1000)
		out_word_count(word, (uint64_t)value);
	else
		snprintf(word, OUT_WORD, value >= 100 ? "%.0f" : "%.2f", value);
}

static int
print_row(void *context, const struct larder_bench_row *row)
{
	struct listing *listing = context;
	char value[OUT_WORD], reference[OUT_WORD] = "-";

	if (listing->count++ == 0 && !listing->quiet) {
		out_paint(OUT_BOLD);
		out_print("%-44s %12s %12s", "", "this machine", "reference");
		out_paint(OUT_PLAIN);
		out_print("\n");
	}
	out_begin();
	out_text("what", row->what);
	out_real("value", row->value);
	out_text("unit", row->unit);
	if (row->reference > 0)
		out_real("reference", row->reference);
	else
		out_text("reference", NULL);
	out_end();

	if (row->reference > 0)
		print_figure(reference, row->reference);
	print_figure(value, row->value);
	out_message(row->what);
	for (size_t len = strlen(row->what); len < 44; len++)
		out_print(" ");
	out_print(" %12s %12s %s\n", value, reference, row->unit);
	out_flush(); /* each row takes a second */
	return cli_go_on();
}

enum cli_exit
cmd_bench(struct cli *cli, int argc, char *argv[])
{
	struct listing listing = { .quiet = cli->quiet };
	enum cli_exit code;
	int rc;

	(void)argc;
	(void)argv;
	rc = larder_bench(opts_has(&cli->opts, "quick"), print_row, &listing, &cli->err);
	if (!cli_listed(cli, rc, &code))
		return code;
	out_done(CLI_DONE);
	out_number("count", listing.count);
	out_end();
	return CLI_DONE;
}
