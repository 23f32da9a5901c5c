"""Benchmarks of Overdrive; each runs beside the plain way to do the same, as parameter `way`."""
