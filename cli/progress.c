#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/out.h"

/* One long call at a time, and it calls back from one thread at a time. */
static struct {
	double begun_s, shown_s;
	uint64_t shown_bytes;
	double rate; /* bytes a second, smoothed */
} run;

void
progress_begin(void)
{
	memset(&run, 0, sizeof run);
	run.begun_s = run.shown_s = cli_seconds();
}

/* Recent seconds count most: an estimate that remembers a cold start is of no use. */
static void
measure(uint64_t bytes, double now_s)
{
	double passed_s = now_s - run.shown_s, weight;
	double rate = (double)(bytes - run.shown_bytes) / passed_s;

	weight = passed_s / (passed_s + 2.0);
	if (run.rate <= 0)
		run.rate = rate;
	else
		run.rate += weight * (rate - run.rate);
	run.shown_s = now_s;
	run.shown_bytes = bytes;
}

/* Append to a line; what does not fit any more is left out as a whole. */
static void
add(char *line, size_t cap, const char *text)
{
	size_t len = strlen(line);

	if (len + strlen(text) < cap)
		snprintf(line + len, cap - len, "%s", text);
}

static void
add_time_left(char *line, size_t cap, const struct larder_progress *p)
{
	char text[48];
	double left_s = 0;

	if (p->bytes_total <= p->bytes_done || run.rate < 1)
		return;
	left_s = (double)(p->bytes_total - p->bytes_done) / run.rate;
	if (left_s > 99 * 3600)
		return;
	if (left_s >= 3600)
		snprintf(text, sizeof text, "  %d:%02d:%02d left", (int)left_s / 3600,
		    (int)left_s / 60 % 60, (int)left_s % 60);
	else
		snprintf(text, sizeof text, "  %d:%02d left", (int)left_s / 60, (int)left_s % 60);
	add(line, cap, text);
}

void
progress_update(void *context, const struct larder_progress *p)
{
	const struct cli *cli = context;
	double now_s = cli_seconds();
	char line[256] = "", text[160], a[OUT_WORD], b[OUT_WORD];
	size_t cap = out_stderr_columns();

	if (now_s - run.shown_s < 0.1)
		return;
	measure(p->bytes_done < run.shown_bytes ? run.shown_bytes : p->bytes_done, now_s);
	if (cap > sizeof line)
		cap = sizeof line;

	snprintf(text, sizeof text, "%s: %s", cli->cmd->name, out_word_bytes(a, p->bytes_done));
	add(line, cap, text);
	if (p->bytes_total > 0) {
		double share = 100.0 * (double)p->bytes_done / (double)p->bytes_total;

		snprintf(text, sizeof text, " of %s  %.0f %%", out_word_bytes(b, p->bytes_total),
		    share > 100 ? 100 : share);
		add(line, cap, text);
	}
	snprintf(text, sizeof text, "  %s", out_word_rate(a, (uint64_t)run.rate, 1));
	add(line, cap, text);
	add_time_left(line, cap, p);
	if (p->bytes_new > 0 || p->bytes_known > 0) {
		snprintf(text, sizeof text, "  new %s, known %s", out_word_bytes(a, p->bytes_new),
		    out_word_bytes(b, p->bytes_known));
		add(line, cap, text);
	}
	snprintf(text, sizeof text, "  %s%s%s files", out_word_count(a, p->files_done),
	    p->files_total > 0 ? " of " : "",
	    p->files_total > 0 ? out_word_count(b, p->files_total) : "");
	add(line, cap, text);
	out_progress(line);
}
