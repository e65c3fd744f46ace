/* A progress bar on standard error, for people only: it draws nothing unless that is a terminal,
 * and not before the work has lasted a second. Thread-safe; one per process. */
#ifndef SONDE_CLI_PROGRESS_H
#define SONDE_CLI_PROGRESS_H

#include <stddef.h>

void progress_start(size_t files, int quiet);
/* A recording is done; or more seconds of one were heard. Draws at most ten times a second. */
void progress_file_done(void);
void progress_heard(double seconds);
/* Takes the bar off the screen, so that a line may be printed; it comes back by itself. */
void progress_hide(void);
void progress_stop(void);

#endif
