#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

/*
 * What was not said on the command line: LARDER_* variables, then the file
 * $LARDER_CONFIG, else $XDG_CONFIG_HOME/larder/config, else ~/.config/larder/config.
 *
 *   # a comment
 *   store = ~/backups/larder
 *   jobs = 4
 */
#include "cli/cmd.h"

struct setting {
	const char *key;      /* in the file */
	const char *variable; /* in the environment */
	const char *option;   /* the one that wins over both */
	const char *value, *help;
	int (*apply)(struct cli *cli, const char *text, struct larder_err *err);
};

/* Ends with an empty row; the man page lists it. */
extern const struct setting settings[];

/* Fill what the options left open, the place of the store last. */
int settings_load(struct cli *cli, struct larder_err *err);

#endif
