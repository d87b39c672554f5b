#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"

enum { WIDTH = 80 };

/* Words of `text` in lines that begin `indent` columns in; the first is there already. */
static void
print_wrapped(const char *text, size_t indent)
{
	size_t column = indent;

	while (*text != '\0') {
		size_t len = strcspn(text, " ");

		if (column > indent && column + 1 + len > WIDTH) {
			out_print("\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			out_print(" ");
			column++;
		}
		out_print("%.*s", (int)len, text);
		column += len;
		text += len;
		text += strspn(text, " ");
	}
	out_print("\n");
}

static void
print_heading(const char *text)
{
	out_paint(OUT_BOLD);
	out_print("\n%s", text);
	out_paint(OUT_PLAIN);
	out_print("\n");
}

static void
print_options(const char *heading, const struct opt *options)
{
	enum { INDENT = 30 };
	char left[64];

	if (options == NULL || options->name == NULL)
		return;
	print_heading(heading);
	for (const struct opt *o = options; o->name != NULL; o++) {
		int len;

		if (o->help == NULL)
			continue;
		if (o->letter != 0)
			len = snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name);
		else
			len = snprintf(left, sizeof left, "      --%s", o->name);
		if (o->value != NULL)
			len += snprintf(left + len, sizeof left - (size_t)len, " %s", o->value);
		out_print("%s", left);
		if (len > INDENT - 2)
			out_print("\n%*s", INDENT, "");
		else
			out_print("%*s", INDENT - len, "");
		print_wrapped(o->help, INDENT);
	}
}

static void
print_fields(const char *heading, const struct cmd_field *fields)
{
	enum { INDENT = 30 };

	if (fields == NULL)
		return;
	print_heading(heading);
	for (const struct cmd_field *f = fields; f->name != NULL; f++) {
		out_print("  %-*s", INDENT - 2, f->name);
		if (strlen(f->name) > INDENT - 4)
			out_print("\n%*s", INDENT, "");
		print_wrapped(f->help, INDENT);
	}
}

static void
print_command(const struct cmd *cmd)
{
	out_print("usage: larder [GLOBAL OPTION]... %s [OPTION]...%s%s\n\n", cmd->name,
	    cmd->args[0] == '\0' ? "" : " ", cmd->args);
	out_print("%s.\n", cmd->help);
	if (cmd->notes[0] != '\0') {
		out_print("\n");
		print_wrapped(cmd->notes, 0);
	}
	print_options("Options", cmd->options);
	print_options("Global options", global_options);
	print_fields("JSON: each result", cmd->results);
	print_fields("JSON: last line, besides done and exit", cmd->totals);
}

static void
print_overview(void)
{
	out_print("usage: larder [GLOBAL OPTION]... COMMAND [OPTION]... [OPERAND]...\n\n");
	out_print("A content-addressed store: every byte is kept once.\n");
	print_heading("Commands");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++)
		out_print("  %-12s  %s\n", cmd->name, cmd->help);
	print_options("Global options, before or after the command", global_options);
	print_fields("Exit codes", exit_codes);
	out_print("\n");
	print_wrapped("NAME is a key such as backups/home. NAME@3 is version 3, NAME the latest, "
		      "NAME//PATH what lies at PATH inside, id:HEX an object by its id.",
	    0);
	print_wrapped(
	    "TIME is RFC 3339, YYYY-MM-DD, or an AGE before now; AGE is a number with s m h d w "
	    "or y; SIZE takes K M G T.",
	    0);
	out_print("\n'larder COMMAND --help' says more.\n");
}

static void
print_json(const struct cmd *only)
{
	uint64_t count = 0;

	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		if (only != NULL && cmd != only)
			continue;
		count++;
		out_begin();
		out_text("command", cmd->name);
		out_text("args", cmd->args);
		out_text("help", cmd->help);
		out_options("options", cmd->options);
		out_end();
	}
	out_done(CLI_DONE);
	out_number("count", count);
	out_end();
}

enum cli_exit
cmd_help(struct cli *cli, int argc, char *argv[])
{
	const struct cmd *cmd = NULL;

	if (argc > 0) {
		const char *nearest = command_nearest(argv[0]);

		cmd = command_named(argv[0]);
		if (cmd == NULL) {
			usage_set(&cli->err, "unknown command '%.100s'", argv[0]);
			if (nearest != NULL)
				usage_hint(&cli->err, "did you mean '%s'?", nearest);
			else
				usage_hint(&cli->err, "'larder help' lists them");
			return cli_fail(cli, LARDER_ERR_USAGE);
		}
	}
	if (opts_has(&cli->opts, "man"))
		return man_print(cli, cmd);
	if (out_is_json())
		print_json(cmd);
	else if (cmd != NULL)
		print_command(cmd);
	else
		print_overview();
	return CLI_DONE;
}
