#ifndef CLI_CMD_H
#define CLI_CMD_H

/*
 * What a command is, and what it may use.
 *
 * commands.c holds the table of them: dispatch, usage, help, man pages and
 * completion come from it. A command is one file, cmd_<verb>.c: it opens the
 * store, makes one call into the library, prints and returns an exit code.
 */
#include "cas/larder.h"
#include "cli/opt.h"

/* CLI.md, "Exit codes". */
enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NOT_FOUND = 3,
	CLI_DAMAGE = 4,
	CLI_PARTIAL = 5,
	CLI_BUSY = 6,
	CLI_REFUSED = 7,
	CLI_INTERRUPTED = 130
};

struct cmd;

/* One run of the program. Strings are lent by argv, the environment or settings.c. */
struct cli {
	const struct cmd *cmd; /* NULL until it is known */
	struct opts opts;      /* what was given, asked for by name */

	const char *store_path; /* NULL until settings_load() */
	const char *index_dir;
	const char *color; /* auto, always or never */
	unsigned jobs;     /* 0 = one per processor */
	unsigned verbose;
	bool json, quiet, no_progress;
	bool store_is_default; /* nobody named the store: its parent folders may be made */
	int64_t at_ns;         /* --as-of; 0 = now */

	struct larder_store *store; /* closed by main */
	struct larder_err err;      /* of the call that failed last */
};

enum cmd_flags {
	CMD_AS_OF = 1,      /* understands --as-of */
	CMD_PLAIN = 2,      /* reads neither settings nor store */
	CMD_BYTES = 4,      /* the result is bytes: JSON goes to stderr */
	CMD_BYTES_DASH = 8, /* the same when the last operand is "-" */
};

struct cmd_field {
	const char *name, *help;
};

struct cmd {
	const char *name;
	const char *args; /* shown after the name in the usage line */
	const char *help; /* one line, imperative, no full stop */
	int args_min, args_max;
	unsigned flags;
	const struct opt *options;       /* ends with an empty row; NULL = none */
	const struct cmd_field *results; /* JSON fields of each result line; NULL = none */
	const struct cmd_field *totals;  /* and of the last line, besides done and exit */
	const char *notes;               /* what one has to know besides; "" = nothing */
	enum cli_exit (*run)(struct cli *cli, int argc, char *argv[]);
};

extern const struct cmd commands[];       /* ends with an empty row */
extern const struct opt global_options[]; /* ends with an empty row */
extern const struct cmd_field exit_codes[];

/* The row of `name`, or NULL. */
const struct cmd *command_named(const char *name);
/* The command that `name` was probably meant to be, or NULL. */
const char *command_nearest(const char *name);

enum cli_exit cmd_bench(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_cat(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_check(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_completion(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_diff(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_find(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_get(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_help(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_init(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_log(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_ls(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_put(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_reindex(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_rm(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_similar(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_status(struct cli *cli, int argc, char *argv[]);
enum cli_exit cmd_version(struct cli *cli, int argc, char *argv[]);

/* man.c: the page of `cmd` as troff, or that of the program when NULL. */
enum cli_exit man_print(struct cli *cli, const struct cmd *cmd);

/* ---- services, cli.c ---- */

/* Set by SIGINT and SIGTERM; the library looks at it. */
extern volatile int cli_cancel;

/* Fill *err with a mistake of the caller; returns LARDER_ERR_USAGE. */
int usage_set(struct larder_err *err, const char *fmt, ...) LARDER_PRINTF(2, 3);
/* What to do about it. */
void usage_hint(struct larder_err *err, const char *fmt, ...) LARDER_PRINTF(2, 3);

/*
 * Open cli->store with `extra` (may be NULL) for what is particular. On failure
 * cli->err is filled and the status returned.
 */
int cli_open(struct cli *cli, const struct larder_open_options *extra);
/* Progress, items and cancellation as every long call takes them. */
struct larder_watch cli_watch(struct cli *cli);
/* Print cli->err, which belongs to `rc`, as the error of this run. */
enum cli_exit cli_fail(struct cli *cli, int rc);
/* The same where the command means another exit code than cli_exit_of(). */
enum cli_exit cli_fail_as(struct cli *cli, int rc, enum cli_exit code);
/* The same for a mistake on the command line, which cli->err tells or the arguments. */
enum cli_exit cli_mistake(struct cli *cli);
enum cli_exit cli_usage(struct cli *cli, const char *fmt, ...) LARDER_PRINTF(2, 3);
/*
 * The end of a listing: done, or stopped because of a signal or because nobody
 * reads stdout any more, or failed. True when it came to its end.
 */
bool cli_listed(struct cli *cli, int rc, enum cli_exit *out);
/* Whether a callback of a listing should go on: 0, or 1 to stop. */
int cli_go_on(void);
/* HOUSE.md section 5. */
enum cli_exit cli_exit_of(int rc);

/* Monotonic seconds since some point. */
double cli_seconds(void);

const char *cli_kind_name(enum larder_kind kind);
const char *cli_type_name(enum larder_entry_type type);

#endif
