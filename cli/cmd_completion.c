/*
 * Completion scripts for three shells, made from the table. Commands, options,
 * words of choices, files where a file belongs, and names that are in the store.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"

static void
put(const char *text)
{
	out_verbatim(text);
}

/* A text in single quotes, for all three shells. */
static void
put_quoted(const char *text)
{
	put("'");
	for (; *text != '\0'; text++) {
		char one[2] = { *text, '\0' };

		put(*text == '\'' ? "'\\''" : one);
	}
	put("'");
}

/* "a|b|c" with another sign between. */
static void
put_choices(const char *choices, const char *between)
{
	while (*choices != '\0') {
		char word[32];
		size_t len = strcspn(choices, "|");

		snprintf(word, sizeof word, "%.*s", (int)len, choices);
		put(word);
		choices += len;
		if (*choices == '|') {
			put(between);
			choices++;
		}
	}
}

/* Whether an operand of the command is a name in the store. */
static bool
takes_name(const struct cmd *cmd)
{
	return strncmp(cmd->args, "NAME", 4) == 0 || strncmp(cmd->args, "A B", 3) == 0 ||
	       strncmp(cmd->args, "[PREFIX", 7) == 0;
}

/* ---- bash ---- */

static void
bash_words(const struct opt *options)
{
	for (const struct opt *o = options; o != NULL && o->name != NULL; o++) {
		if (o->help == NULL)
			continue;
		put(" --");
		put(o->name);
	}
}

/* A case for each option that takes one of some words, or a file. */
static void
bash_values(const struct opt *options)
{
	for (const struct opt *o = options; o != NULL && o->name != NULL; o++) {
		if (o->help == NULL || o->kind == OPT_FLAG)
			continue;
		put("\t--");
		put(o->name);
		if (o->letter != 0) {
			char letter[5] = { '|', '-', o->letter, '\0' };

			put(letter);
		}
		put(") ");
		if (o->kind == OPT_CHOICE) {
			put("COMPREPLY=($(compgen -W '");
			put_choices(o->value, " ");
			put("' -- \"$cur\"))");
		} else if (o->kind == OPT_FILE) {
			put("compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))");
		} else {
			put("COMPREPLY=()");
		}
		put("; return ;;\n");
	}
}

static void
print_bash(void)
{
	put("# bash completion for larder, made by 'larder completion bash'\n"
	    "_larder()\n{\n"
	    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= word "
	    "skip= options names=\n"
	    "\tCOMPREPLY=()\n"
	    "\tcase $prev in\n");
	bash_values(global_options);
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++)
		bash_values(cmd->options);
	put("\tesac\n"
	    "\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	    "\t\tif [[ -n $skip ]]; then skip=; continue; fi\n"
	    "\t\tcase $word in\n"
	    "\t\t-S|-j");
	for (const struct opt *o = global_options; o->name != NULL; o++) {
		if (o->kind == OPT_FLAG)
			continue;
		put("|--");
		put(o->name);
	}
	put(") skip=1 ;;\n"
	    "\t\t-*) ;;\n"
	    "\t\t*) cmd=$word; break ;;\n"
	    "\t\tesac\n"
	    "\tdone\n"
	    "\toptions='");
	bash_words(global_options);
	put("'\n\tcase $cmd in\n\t'') [[ $cur == -* ]] || options='");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		put(cmd == commands ? "" : " ");
		put(cmd->name);
	}
	put("'; COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); return ;;\n");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		put("\t");
		put(cmd->name);
		put(") options+='");
		bash_words(cmd->options);
		put("'");
		if (takes_name(cmd))
			put("; names=1");
		put(" ;;\n");
	}
	put("\tesac\n"
	    "\tif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); "
	    "return; fi\n"
	    "\tcase $cmd in\n"
	    "\tcompletion) COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\")); return ;;\n"
	    "\thelp) COMPREPLY=($(compgen -W '");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		put(cmd == commands ? "" : " ");
		put(cmd->name);
	}
	put("' -- \"$cur\")); return ;;\n"
	    "\tesac\n"
	    "\tcompopt -o filenames\n"
	    "\tlocal IFS=$'\\n'\n"
	    "\tCOMPREPLY=($(compgen -f -- \"$cur\"))\n"
	    "\tif [[ -n $names ]]; then\n"
	    "\t\tCOMPREPLY+=($(compgen -W \"$(larder --quiet ls \"$cur\" 2>/dev/null | sed "
	    "'s/@[0-9]*$//')\" -- \"$cur\"))\n"
	    "\tfi\n"
	    "}\n"
	    "complete -F _larder larder\n");
}

/* ---- zsh ---- */

/* '--store[the help]:STORE:_files' */
static void
zsh_option(const struct opt *o)
{
	char text[256];

	put(" \\\n\t\t");
	snprintf(text, sizeof text, "--%s[%s]", o->name, o->help);
	for (char *c = text; *c != '\0'; c++)
		if (*c == ':' || *c == '\'')
			*c = ' ';
	put("'");
	put(text);
	if (o->kind != OPT_FLAG) {
		put(":value:");
		if (o->kind == OPT_CHOICE) {
			put("(");
			put_choices(o->value, " ");
			put(")");
		} else if (o->kind == OPT_FILE) {
			put("_files");
		}
	}
	put("'");
}

static void
zsh_options(const struct opt *options)
{
	for (const struct opt *o = options; o != NULL && o->name != NULL; o++)
		if (o->help != NULL)
			zsh_option(o);
}

static void
print_zsh(void)
{
	put("#compdef larder\n"
	    "# zsh completion for larder, made by 'larder completion zsh'\n"
	    "_larder_names() {\n"
	    "\tlocal -a names\n"
	    "\tnames=(${${(f)\"$(larder --quiet ls \"$PREFIX\" 2>/dev/null)\"}%@*})\n"
	    "\tcompadd -a names\n"
	    "}\n"
	    "_larder_commands() {\n\tlocal -a rows\n\trows=(\n");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		char row[128];

		snprintf(row, sizeof row, "%s:%s", cmd->name, cmd->help);
		put("\t\t");
		put_quoted(row);
		put("\n");
	}
	put("\t)\n\t_describe command rows\n}\n"
	    "_larder() {\n"
	    "\tlocal curcontext=$curcontext state line\n"
	    "\ttypeset -A opt_args\n"
	    "\t_arguments -C");
	zsh_options(global_options);
	put(" \\\n\t\t'1:command:_larder_commands' '*::operand:->rest'\n"
	    "\t[[ $state == rest ]] || return\n"
	    "\tcase $words[1] in\n");
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		put("\t");
		put(cmd->name);
		put(")\n\t\t_arguments");
		zsh_options(cmd->options);
		if (strcmp(cmd->name, "completion") == 0)
			put(" \\\n\t\t'1:shell:(bash zsh fish)'");
		else if (strcmp(cmd->name, "help") == 0)
			put(" \\\n\t\t'1:command:_larder_commands'");
		else if (takes_name(cmd))
			put(" \\\n\t\t'1:name:_larder_names' '*:operand:_files'");
		else
			put(" \\\n\t\t'*:operand:_files'");
		put(" ;;\n");
	}
	put("\tesac\n}\n"
	    "if [[ $funcstack[1] == _larder ]]; then _larder \"$@\"; else compdef _larder larder; "
	    "fi\n");
}

/* ---- fish ---- */

static void
fish_options(const struct opt *options, const char *command)
{
	for (const struct opt *o = options; o != NULL && o->name != NULL; o++) {
		if (o->help == NULL)
			continue;
		put("complete -c larder");
		if (command != NULL) {
			put(" -n '__fish_seen_subcommand_from ");
			put(command);
			put("'");
		}
		put(" -l ");
		put(o->name);
		if (o->letter != 0) {
			char letter[6] = { ' ', '-', 's', ' ', o->letter, '\0' };

			put(letter);
		}
		if (o->kind == OPT_CHOICE) {
			put(" -x -a '");
			put_choices(o->value, " ");
			put("'");
		} else if (o->kind != OPT_FLAG) {
			put(o->kind == OPT_FILE ? " -r -F" : " -x");
		}
		put(" -d ");
		put_quoted(o->help);
		put("\n");
	}
}

static void
print_fish(void)
{
	put("# fish completion for larder, made by 'larder completion fish'\n");
	fish_options(global_options, NULL);
	for (const struct cmd *cmd = commands; cmd->name != NULL; cmd++) {
		put("complete -c larder -f -n __fish_use_subcommand -a ");
		put(cmd->name);
		put(" -d ");
		put_quoted(cmd->help);
		put("\n");
		fish_options(cmd->options, cmd->name);
		if (takes_name(cmd)) {
			put("complete -c larder -n '__fish_seen_subcommand_from ");
			put(cmd->name);
			put("' -a \"(larder --quiet ls (commandline -ct) 2>/dev/null | string "
			    "replace -r '@[0-9]*\\$' '')\"\n");
		}
	}
	put("complete -c larder -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh "
	    "fish'\n");
}

enum cli_exit
cmd_completion(struct cli *cli, int argc, char *argv[])
{
	(void)argc;
	if (opt_parse_choice(argv[0], "bash|zsh|fish", &cli->err) < 0)
		return cli_mistake(cli);
	if (strcmp(argv[0], "bash") == 0)
		print_bash();
	else if (strcmp(argv[0], "zsh") == 0)
		print_zsh();
	else
		print_fish();
	out_done(CLI_DONE);
	out_end();
	return CLI_DONE;
}
