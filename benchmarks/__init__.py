"""How the figures in docs/ were measured. Commands: `python -m benchmarks.bench_track --help`."""
