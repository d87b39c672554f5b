#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"

static void
print_damage(void *context, const struct larder_damage *damage)
{
	(void)context;
	out_progress(NULL);
	out_begin();
	out_text("damage", damage->what);
	out_list("names", damage->names, damage->name_count);
	out_number("names_total", damage->names_total);
	out_end();

	out_paint(OUT_RED);
	out_print("damage: ");
	out_paint(OUT_PLAIN);
	out_message(damage->what);
	for (size_t i = 0; i < damage->name_count; i++) {
		out_print("%s", i == 0 ? "; hits " : ", ");
		out_name(damage->names[i]);
	}
	if (damage->names_total > damage->name_count)
		out_print(" and %llu more",
		    (unsigned long long)(damage->names_total - damage->name_count));
	out_print("\n");
	out_flush();
}

/* "1 pack", "2,079 chunks" */
static const char *
counted(char word[OUT_WORD], uint64_t count, const char *noun)
{
	size_t len = strlen(out_word_count(word, count));

	snprintf(word + len, OUT_WORD - len, " %s%s", noun, count == 1 ? "" : "s");
	return word;
}

static void
print_result(const struct cli *cli, const struct larder_check_result *r, bool read, double took_s,
    enum cli_exit code)
{
	char a[OUT_WORD], b[OUT_WORD], c[OUT_WORD], d[OUT_WORD];

	out_done(code);
	out_number("packs", r->packs);
	out_number("segments", r->segments);
	out_number("chunks", r->chunks);
	out_number("versions", r->versions);
	out_number("bytes", r->bytes);
	out_number("damages", r->damages);
	out_number("journal_tail", r->journal_tail);
	out_real("seconds", took_s);
	out_end();

	if (cli->quiet)
		return;
	out_print("checked %s, %s, %s", counted(a, r->packs, "pack"),
	    counted(b, r->chunks, "chunk"), counted(c, r->versions, "version"));
	if (read)
		out_print(", read %s", out_word_bytes(d, r->bytes));
	out_print(", %.2f s", took_s);
	if (read)
		out_print(" (%s)", out_word_rate(d, r->bytes, took_s));
	out_print(": ");
	out_paint(r->damages == 0 ? OUT_GREEN : OUT_RED);
	if (r->damages == 0)
		out_print("no damage");
	else
		out_print("%s damaged", out_word_count(a, r->damages));
	out_paint(OUT_PLAIN);
	out_print("\n");
	if (r->journal_tail > 0)
		out_print("the journal ends in %s bytes of an unfinished write; nobody was "
			  "promised them\n",
		    out_word_count(a, r->journal_tail));
}

enum cli_exit
cmd_check(struct cli *cli, int argc, char *argv[])
{
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_check_result result = { 0 };
	const struct opt_given *sample = opts_find(&cli->opts, "sample");
	double begun_s = cli_seconds();
	int rc;

	(void)argc;
	(void)argv;
	if (sample != NULL && sample->value.percent < 100)
		options.sample = sample->value.percent;
	options.read = sample != NULL || opts_has(&cli->opts, "read");
	rc = cli_open(cli, NULL);
	if (rc < 0)
		return cli_fail(cli, rc);
	options.watch = cli_watch(cli);
	rc = larder_check(cli->store, &options, print_damage, NULL, &result, &cli->err);
	out_progress(NULL);
	/* Damage that was listed is this command's result; anything else is a failure of it. */
	if (rc == LARDER_OK || (rc == LARDER_ERR_CORRUPT && result.damages > 0)) {
		enum cli_exit code = cli_exit_of(rc);

		print_result(cli, &result, options.read, cli_seconds() - begun_s, code);
		return code;
	}
	return cli_fail(cli, rc);
}
