"""Tables of what is measured beside what it stands in for, interleaved in one run."""
