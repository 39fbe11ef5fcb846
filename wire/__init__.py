"""The shared vocabulary: names, limits, errors, messages, the frame codec, and what a core is."""
