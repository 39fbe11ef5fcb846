"""The exit codes of every command, after sysexits.h; pure."""

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69  # no zdns, or nobody serves and this one may not
EXIT_INTERNAL = 70  # a bug: one sentence on the terminal, the rest in the log
EXIT_LATE = 75  # not acknowledged in time
EXIT_VERSION = 76  # protocol versions differ
EXIT_REFUSED = 77  # by name or by right
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130  # before anything happened
