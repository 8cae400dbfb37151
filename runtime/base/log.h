/* log: one line per event to stderr or a file, from any thread or process, as logfmt or
 * as JSON.
 *
 *   ts=2026-11-23T06:17:30.123Z level=info who=worker:3 pid=4711 msg="..." key=value …
 *
 * Logging never waits: a line for which a pipe or the disk has no room is lost, and
 * counted in a later one. A line is one write(2) of at most 4096 bytes to a descriptor
 * opened with O_APPEND, so lines of several processes never mix. There is one log per
 * process tree: it is opened before the forks, and each process reopens it on its own. */
#ifndef DIRTY_LOG_H
#define DIRTY_LOG_H

#include <stdbool.h>
#include <stddef.h>

typedef enum dirty_log_level {
    DIRTY_LOG_DEBUG,
    DIRTY_LOG_INFO,
    DIRTY_LOG_WARN,
    DIRTY_LOG_ERROR
} dirty_log_level;

/* Log to `path` (copied), NULL for stderr, from `level` up. The file is opened as
 * base/safe_file.h says: one that is made belongs to the user there, and a FIFO or a
 * device is good where the path is ours. 0 or a negative code of that header (the log is
 * as it was). Before the first call everything from info up goes to stderr. */
int dirty_log_open(const char *path, dirty_log_level level);

/* Log to `fd` (owned), a pipe to a process that has the file and logs what comes by
 * dirty_log_pass: there is nothing to open again here. What the log wrote to is closed.
 */
void dirty_log_relay(int fd);

/* While this is on, as it is after a call with true, errors go to stderr too where the
 * log is elsewhere: for a start, which somebody watches. In the calling process and those
 * it forks. */
void dirty_log_echo(bool on);

/* What stderr is, while descriptor 2 is something else: for those errors. */
void dirty_log_stderr(int fd);

/* Log an error that stderr has been told already: where the log is elsewhere, and neither
 * to stderr nor to the tap. */
void dirty_log_told(const char *msg);

/* Write a line that another process has made, len bytes without control characters or
 * the newline. */
void dirty_log_pass(const char *line, size_t len);

/* Write JSON objects from now on (true), or logfmt. */
void dirty_log_as_json(bool json);

/* Open the file again by its path, after it was rotated. 0, or a negative code of
 * base/safe_file.h (old file kept). */
int dirty_log_reopen(void);

/* The file's path; NULL: stderr, or a pipe to another process. */
const char *dirty_log_path(void);

/* Where the log is stderr: go on writing there, though descriptor 2 is about to become
 * something else in this process. */
void dirty_log_keep(void);

/* The descriptor lines go to, for a child that keeps it; 2 where it is stderr. */
int dirty_log_fd(void);

/* Who speaks from now on in this process: "arbiter", "worker:3". Copied, cut at 31 bytes.
 */
void dirty_log_who(const char *who);

/* Give a copy of each error to `tap` as well: message and fields, as logfmt without the
 * line's time and sender. NULL: to nobody. */
void dirty_log_tap(void (*tap)(const char *text, size_t len));

/* Whether lines of this level are written. */
bool dirty_log_takes(dirty_log_level level);

/* "debug", "info", "warn", "error" to a level; -1 for anything else. */
int dirty_log_level_parse(const char *name);

/* Log `msg` and the fields. Fields come as logfmt text made from `format`, values that
 * may hold spaces or quotes in %s go through DIRTY_LOG_QUOTE first; format "" for none.
 * What is a control (base/utf8.h) or no UTF-8 comes out as '?'. */
void dirty_log(dirty_log_level level, const char *msg, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Log `msg` without fields. */
void dirty_log_msg(dirty_log_level level, const char *msg);

/* What to do about a negative errno that means a lack of something, for the field
 * "remedy"; "" for others. */
const char *dirty_log_remedy(int negative_errno);

/* A room for one quoted value, made on the caller's stack:
 *   dirty_log(DIRTY_LOG_WARN, "app failed", "reason=%s", DIRTY_LOG_QUOTE(reason)); */
typedef struct dirty_log_quoted {
    char text[1024];
} dirty_log_quoted;
const char *dirty_log_quote(dirty_log_quoted *room, const char *text);
#define DIRTY_LOG_QUOTE(text) dirty_log_quote(&(dirty_log_quoted){{0}}, (text))

#endif
