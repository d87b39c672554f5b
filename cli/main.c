/*
 * The program: global options, dispatch, signals, the last line and the exit code.
 *
 * What a command does is in cmd_<verb>.c, what it is called in commands.c, what
 * commands share in cli.c. Everything that is printed goes through out.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/settings.h"

/* ---- signals ---- */

/* For the handlers, which cannot ask. */
static volatile sig_atomic_t json_fd = -1; /* -1: no JSON */

static void
on_stop(int number)
{
	(void)number;
	if (cli_cancel != 0)
		_exit(CLI_INTERRUPTED);
	cli_cancel = 1;
}

static void
say(int fd, const char *text)
{
	ssize_t n = write(fd, text, strlen(text));

	(void)n; /* nothing is left to be done about it */
}

/* A failing disk shows in the memory map of the index as a signal (TRUST.md 4.7). */
static void
on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (!larder_fault(info->si_addr)) {
		signal(
		    number, SIG_DFL); /* our own mistake: the instruction faults again, and dumps */
		return;
	}
	if (json_fd >= 0)
		say((int)json_fd,
		    "{\"error\":{\"code\":\"corrupt\",\"message\":\"reading the index: "
		    "a page of it cannot be read\"},\"exit\":4}\n");
	if (json_fd != 2)
		say(2, "larder: reading the index: a page of it cannot be read; "
		       "run the command again, it rebuilds the index\n");
	_exit(CLI_DAMAGE);
}

static void
catch_signals(void)
{
	static const int stops[] = { SIGINT, SIGTERM, SIGHUP };
	static const int faults[] = { SIGSEGV, SIGBUS };
	struct sigaction action;

	/* Without SA_RESTART: who waits for standard input shall wake up. */
	memset(&action, 0, sizeof action);
	sigemptyset(&action.sa_mask);
	action.sa_handler = on_stop;
	for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
		struct sigaction old;

		/* What a parent ignores (nohup, a shell's background job) stays ignored. */
		if (sigaction(stops[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(stops[i], &action, NULL);
	}

	memset(&action, 0, sizeof action);
	sigemptyset(&action.sa_mask);
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigaction(faults[i], &action, NULL);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

/* Else a file of the store could get number 1, and what is printed would go into it. */
static void
hold_standard_files(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			_exit(CLI_FAILED);
}

/* ---- the command line ---- */

/* Asked before the options are read, because their errors are JSON too. */
static bool
wants_json(int argc, char *argv[])
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static void
take_globals(struct cli *cli)
{
	const struct opts *opts = &cli->opts;
	const struct opt_given *given;

	cli->json = opts_has(opts, "json");
	cli->quiet = opts_has(opts, "quiet");
	cli->verbose = (unsigned)opts_count(opts, "verbose");
	cli->no_progress = opts_has(opts, "no-progress");
	cli->store_path = opts_text(opts, "store");
	cli->index_dir = opts_text(opts, "index-dir");
	if (opts_has(opts, "color"))
		cli->color = opts_text(opts, "color");
	given = opts_find(opts, "jobs");
	if (given != NULL)
		cli->jobs = (unsigned)given->value.number;
	given = opts_find(opts, "as-of");
	if (given != NULL)
		cli->at_ns =
		    given->value.time_ns != 0 ? given->value.time_ns : 1; /* 0 would be now */
}

static enum cli_exit
no_command(struct cli *cli)
{
	if (opts_has(&cli->opts, "version"))
		return cmd_version(cli, 0, NULL);
	if (opts_has(&cli->opts, "help"))
		return cmd_help(cli, 0, NULL);
	usage_set(&cli->err, "no command is given");
	usage_hint(&cli->err, "'larder help' lists them");
	return cli_fail(cli, LARDER_ERR_USAGE);
}

static enum cli_exit
unknown_command(struct cli *cli, const char *name)
{
	const char *nearest = command_nearest(name);

	usage_set(&cli->err, "unknown command '%.100s'", name);
	if (nearest != NULL)
		usage_hint(&cli->err, "did you mean '%s'? 'larder help' lists all", nearest);
	else
		usage_hint(&cli->err, "'larder help' lists them");
	return cli_fail(cli, LARDER_ERR_USAGE);
}

/* Operands and options that do not fit the command's row. */
static enum cli_exit
check_shape(struct cli *cli)
{
	const struct cmd *cmd = cli->cmd;
	int count = cli->opts.operand_count;

	if (count < cmd->args_min)
		return cli_usage(cli, "%s is missing: usage is 'larder %s %s'",
		    count == 0 ? "an operand" : "another operand", cmd->name, cmd->args);
	if (count > cmd->args_max)
		return cli_usage(cli, "'%.200s' is one operand too many: usage is 'larder %s%s%s'",
		    cli->opts.operands[cmd->args_max], cmd->name, cmd->args[0] == '\0' ? "" : " ",
		    cmd->args);
	if (cli->at_ns != 0 && (cmd->flags & CMD_AS_OF) == 0)
		return cli_usage(cli, "--as-of is for commands that read names and versions");
	return CLI_DONE;
}

static bool
result_is_bytes(const struct cli *cli)
{
	int count = cli->opts.operand_count;

	if ((cli->cmd->flags & CMD_BYTES) != 0)
		return true;
	return (cli->cmd->flags & CMD_BYTES_DASH) != 0 && count == cli->cmd->args_max &&
	       strcmp(cli->opts.operands[count - 1], "-") == 0 &&
	       !opts_has(&cli->opts, "verify-only") && !opts_has(&cli->opts, "dry-run");
}

static enum cli_exit
run_command(struct cli *cli)
{
	const struct cmd *cmd = cli->cmd;
	enum cli_exit code;

	if (opts_has(&cli->opts, "version"))
		return cmd_version(cli, 0, NULL);
	if (opts_has(&cli->opts, "help")) {
		char name[32], *operands[] = { name, NULL };

		snprintf(name, sizeof name, "%s", cmd->name);
		return cmd_help(cli, 1, operands);
	}
	if (result_is_bytes(cli))
		out_json_to_stderr();
	code = check_shape(cli);
	if (code != CLI_DONE)
		return code;
	if ((cmd->flags & CMD_PLAIN) == 0 && settings_load(cli, &cli->err) < 0)
		return cli_fail(cli, LARDER_ERR_USAGE);
	out_setup(cli->json, cli->color);
	if (cli->json)
		json_fd = out_json_on_stderr() ? 2 : 1;
	return cmd->run(cli, cli->opts.operand_count, cli->opts.operands);
}

static enum cli_exit
run(struct cli *cli, int argc, char *argv[])
{
	int at = 1, rc;

	rc = opts_parse(&cli->opts, argc, argv, &at, true, global_options, NULL, &cli->err);
	if (rc < 0)
		return cli_mistake(cli);
	take_globals(cli);
	if (at == argc)
		return no_command(cli);
	cli->cmd = command_named(argv[at]);
	if (cli->cmd == NULL)
		return unknown_command(cli, argv[at]);
	at++;
	rc = opts_parse(
	    &cli->opts, argc, argv, &at, false, global_options, cli->cmd->options, &cli->err);
	if (rc < 0)
		return cli_mistake(cli);
	take_globals(cli);
	return run_command(cli);
}

int
main(int argc, char *argv[])
{
	struct cli cli = { .color = "auto" };
	enum cli_exit code;

	hold_standard_files();
	out_setup(wants_json(argc, argv), cli.color);
	catch_signals();
	code = run(&cli, argc, argv);
	larder_store_close(cli.store);
	code = out_finish(&cli, code);
	opts_release(&cli.opts);
	return (int)code;
}
