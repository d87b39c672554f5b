/*
 * What commands share: opening the store, watching long calls, and how a failure
 * becomes one line and an exit code.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/out.h"
#include "cli/progress.h"

volatile int cli_cancel;

int
usage_set(struct larder_err *err, const char *fmt, ...)
{
	va_list args;

	if (err == NULL)
		return LARDER_ERR_USAGE;
	memset(err, 0, sizeof *err);
	err->status = LARDER_ERR_USAGE;
	va_start(args, fmt);
	vsnprintf(err->message, sizeof err->message, fmt, args);
	va_end(args);
	return LARDER_ERR_USAGE;
}

void
usage_hint(struct larder_err *err, const char *fmt, ...)
{
	va_list args;

	if (err == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(err->hint, sizeof err->hint, fmt, args);
	va_end(args);
}

static void
notice(void *context, const char *line)
{
	const struct cli *cli = context;

	if (!cli->quiet)
		out_notice(line);
}

/* ~/.local/share need not be there on a fresh account; the store itself is the library's. */
static void
make_parents(const char *path)
{
	char part[4096];
	size_t len = strlen(path);

	if (len >= sizeof part)
		return;
	for (size_t i = 1; i < len; i++) {
		if (path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		mkdir(part, 0700); /* what fails here is named when the store is opened */
	}
}

int
cli_open(struct cli *cli, const struct larder_open_options *extra)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	int rc;

	if (extra != NULL)
		options = *extra;
	options.index_dir = cli->index_dir;
	options.threads = cli->jobs;
	options.on_notice = notice;
	options.context = cli;
	if (options.create && cli->store_is_default)
		make_parents(cli->store_path);
	rc = larder_store_open(&cli->store, cli->store_path, &options, &cli->err);
	if (cli->err.hint[0] == '\0' && rc == LARDER_ERR_USAGE)
		usage_hint(&cli->err, "name another with -S STORE");
	else if (cli->err.hint[0] == '\0' && rc == LARDER_ERR_EXISTS)
		usage_hint(&cli->err, "nothing was changed");
	if (rc == LARDER_OK && cli->verbose > 0 && !cli->quiet) {
		struct larder_store_info info = LARDER_STORE_INFO_INIT;
		char line[256];

		larder_store_info(&info, cli->store);
		snprintf(line, sizeof line, "store %.100s, id %s, writer %s", cli->store_path,
		    info.id, info.writer);
		out_notice(line);
	}
	return rc;
}

static void
item(void *context, const struct larder_item *it)
{
	const struct cli *cli = context;

	out_item(cli->cmd, it->path, it->message);
}

struct larder_watch
cli_watch(struct cli *cli)
{
	struct larder_watch watch = { .on_item = item, .context = cli, .cancel = &cli_cancel };

	if (!cli->no_progress && !cli->quiet && !out_json_on_stderr() && out_stderr_is_terminal()) {
		progress_begin();
		watch.on_progress = progress_update;
	}
	return watch;
}

enum cli_exit
cli_exit_of(int rc)
{
	switch (rc) {
	case LARDER_OK:
		return CLI_DONE;
	case LARDER_ERR_NOT_FOUND:
		return CLI_NOT_FOUND;
	case LARDER_ERR_CORRUPT:
		return CLI_DAMAGE;
	case LARDER_ERR_BUSY:
		return CLI_BUSY;
	case LARDER_ERR_REFUSED:
		return CLI_REFUSED;
	case LARDER_ERR_USAGE:
		return CLI_USAGE;
	case LARDER_ERR_PARTIAL:
		return CLI_PARTIAL;
	case LARDER_ERR_CANCELLED:
		return CLI_INTERRUPTED;
	default:
		return CLI_FAILED;
	}
}

enum cli_exit
cli_fail(struct cli *cli, int rc)
{
	return cli_fail_as(cli, rc, cli_exit_of(rc));
}

enum cli_exit
cli_fail_as(struct cli *cli, int rc, enum cli_exit code)
{
	struct larder_err *err = &cli->err;

	out_progress(NULL);
	/* The reader of our stdout has left: he knows. */
	if (rc == LARDER_ERR_IO && err->sys_errno == EPIPE)
		return CLI_FAILED;
	if (err->message[0] == '\0')
		snprintf(err->message, sizeof err->message, "%s",
		    rc == LARDER_ERR_CANCELLED ? "interrupted" : larder_status_code(rc));
	if (err->hint[0] == '\0' && code == CLI_INTERRUPTED)
		usage_hint(err, "what was committed stays");
	out_error(cli->cmd, rc, code, err->message, err->hint);
	return code;
}

enum cli_exit
cli_usage(struct cli *cli, const char *fmt, ...)
{
	va_list args;

	usage_set(&cli->err, "%s", "");
	va_start(args, fmt);
	vsnprintf(cli->err.message, sizeof cli->err.message, fmt, args);
	va_end(args);
	return cli_mistake(cli);
}

enum cli_exit
cli_mistake(struct cli *cli)
{
	if (cli->err.hint[0] == '\0' && cli->cmd != NULL)
		usage_hint(&cli->err, "try 'larder %s --help'", cli->cmd->name);
	else if (cli->err.hint[0] == '\0')
		usage_hint(&cli->err, "try 'larder help'");
	return cli_fail(cli, cli->err.status);
}

int
cli_go_on(void)
{
	return cli_cancel != 0 || out_broken();
}

bool
cli_listed(struct cli *cli, int rc, enum cli_exit *out)
{
	if (rc == LARDER_OK)
		return true;
	if (out_broken()) {
		*out = CLI_FAILED; /* out_finish() says why */
		return false;
	}
	if (rc > 0) { /* cli_go_on() stopped it */
		memset(&cli->err, 0, sizeof cli->err);
		rc = LARDER_ERR_CANCELLED;
	}
	*out = cli_fail(cli, rc);
	return false;
}

double
cli_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

const char *
cli_kind_name(enum larder_kind kind)
{
	switch (kind) {
	case LARDER_KIND_FILE:
		return "file";
	case LARDER_KIND_DIR:
		return "dir";
	case LARDER_KIND_ARCHIVE:
		return "archive";
	}
	return "unknown";
}

const char *
cli_type_name(enum larder_entry_type type)
{
	switch (type) {
	case LARDER_ENTRY_FILE:
		return "file";
	case LARDER_ENTRY_DIR:
		return "dir";
	case LARDER_ENTRY_SYMLINK:
		return "symlink";
	case LARDER_ENTRY_FIFO:
		return "fifo";
	case LARDER_ENTRY_CHAR:
		return "char";
	case LARDER_ENTRY_BLOCK:
		return "block";
	case LARDER_ENTRY_SOCKET:
		return "socket";
	}
	return "unknown";
}
