"""The shared input and output: clock, timers, sockets, the driver of a core, the process."""
