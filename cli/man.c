/*
 * Manual pages as troff: synopsis, options, JSON fields and exit codes from the
 * table, prose from cli/man/<command>.roff (larder.roff for the program), which
 * is read when the pages are built. A page without prose is a page too.
 */
#include "cli/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/settings.h"

/* Plain text for troff: its own characters are hidden. */
static void
put(const char *text)
{
	bool line_start = true;

	for (; *text != '\0'; text++) {
		char one[2] = { *text, '\0' };

		if (line_start && (*text == '.' || *text == '\''))
			out_verbatim("\\&");
		if (*text == '-')
			out_verbatim("\\-");
		else if (*text == '\\')
			out_verbatim("\\e");
		else
			out_verbatim(one);
		line_start = *text == '\n';
	}
}

static void
put_line(const char *request, const char *text)
{
	out_verbatim(request);
	put(text);
	out_verbatim("\n");
}

static void
put_options(const char *heading, const struct opt *options)
{
	if (options == NULL)
		return;
	put_line(".SH ", heading);
	for (const struct opt *o = options; o->name != NULL; o++) {
		char letter[8];

		if (o->help == NULL)
			continue;
		out_verbatim(".TP\n\\fB");
		snprintf(letter, sizeof letter, "-%c", o->letter);
		if (o->letter != 0) {
			put(letter);
			out_verbatim("\\fR, \\fB");
		}
		put("--");
		put(o->name);
		out_verbatim("\\fR");
		if (o->value != NULL) {
			out_verbatim(" \\fI");
			put(o->value);
			out_verbatim("\\fR");
		}
		put_line("\n", o->help);
	}
}

static void
put_fields(const char *lead, const struct cmd_field *fields)
{
	if (fields == NULL)
		return;
	if (lead != NULL)
		put_line(".PP\n", lead);
	for (const struct cmd_field *f = fields; f->name != NULL; f++) {
		put_line(".TP\n.B ", f->name);
		put_line("", f->help);
	}
}

static void
put_settings(void)
{
	out_verbatim(".SH SETTINGS\n");
	put_line("",
	    "Options win over variables, variables over the file $LARDER_CONFIG, else "
	    "$XDG_CONFIG_HOME/larder/config, else ~/.config/larder/config. A line of the file is "
	    "'key = value' or a comment after #.");
	for (const struct setting *s = settings; s->key != NULL; s++) {
		out_verbatim(".TP\n\\fB");
		put(s->key);
		out_verbatim("\\fR, \\fB");
		put(s->variable);
		out_verbatim("\\fR, \\fI");
		put(s->value);
		out_verbatim("\\fR\n");
		put_line("", s->help);
	}
	put_line(".TP\n.B ", "NO_COLOR");
	put_line("", "when set, no colour unless --color always is given");
}

/* The prose, if there is some where the page is built. */
static enum cli_exit
put_prose(struct cli *cli, const char *name)
{
	char path[128], text[4097];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "cli/man/%s.roff", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return CLI_DONE;
	while ((n = read(fd, text, sizeof text - 1)) > 0) {
		text[n] = '\0';
		out_verbatim(text);
	}
	close(fd);
	if (n == 0)
		return CLI_DONE;
	usage_set(&cli->err, "reading %s: %s", path, strerror(errno));
	return cli_fail(cli, LARDER_ERR_IO);
}

static void
put_head(const char *suffix, const char *help)
{
	char upper[64];
	size_t i;

	snprintf(upper, sizeof upper, "LARDER%s%s", suffix[0] == '\0' ? "" : "-", suffix);
	for (i = 0; upper[i] != '\0'; i++)
		upper[i] = (char)toupper((unsigned char)upper[i]);
	out_verbatim(".TH ");
	put(upper);
	out_verbatim(" 1 \"\" \"larder ");
	put(larder_version());
	out_verbatim("\" \"larder manual\"\n.nh\n.ad l\n.SH NAME\nlarder");
	out_verbatim(suffix[0] == '\0' ? "" : "\\-");
	put(suffix);
	out_verbatim(" \\- ");
	put_line("", help);
}

static enum cli_exit
print_command(struct cli *cli, const struct cmd *cmd)
{
	enum cli_exit code;

	put_head(cmd->name, cmd->help);
	out_verbatim(".SH SYNOPSIS\n.B larder ");
	put(cmd->name);
	out_verbatim("\n[\\fIOPTION\\fR]... ");
	put_line("", cmd->args);
	out_verbatim(".SH DESCRIPTION\n");
	put_line("", cmd->notes[0] == '\0' ? cmd->help : cmd->notes);
	code = put_prose(cli, cmd->name);
	put_options("OPTIONS", cmd->options);
	out_verbatim(".PP\nThe global options are described in\n.BR larder (1).\n");
	if (cmd->results != NULL || cmd->totals != NULL)
		out_verbatim(".SH JSON\n");
	put_fields("Fields of each result line:", cmd->results);
	put_fields("Fields of the last line, besides done and exit:", cmd->totals);
	out_verbatim(".SH EXIT STATUS\n");
	put_fields(NULL, exit_codes);
	out_verbatim(".SH SEE ALSO\n.BR larder (1)\n");
	return code;
}

static enum cli_exit
print_program(struct cli *cli)
{
	enum cli_exit code;

	put_head("", "a content-addressed store that keeps every byte once");
	out_verbatim(".SH SYNOPSIS\n.B larder\n[\\fIGLOBAL OPTION\\fR]... \\fICOMMAND\\fR "
		     "[\\fIOPTION\\fR]... [\\fIOPERAND\\fR]...\n.SH DESCRIPTION\n");
	code = put_prose(cli, "larder");
	out_verbatim(".SH COMMANDS\n");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		out_verbatim(".TP\n.BR larder\\-");
		put(cmd->name);
		out_verbatim(" (1)\n");
		put_line("", cmd->help);
	}
	put_options("GLOBAL OPTIONS", global_options);
	put_settings();
	out_verbatim(".SH EXIT STATUS\n");
	put_fields(NULL, exit_codes);
	out_verbatim(".SH SEE ALSO\n.BR larder\\-store (5)\n");
	return code;
}

enum cli_exit
man_print(struct cli *cli, const struct cmd *cmd)
{
	return cmd == NULL ? print_program(cli) : print_command(cli, cmd);
}
