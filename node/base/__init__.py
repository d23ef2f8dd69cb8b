"""What every room may use: the clock, error texts, glob patterns, the log, the version that a node equals."""
