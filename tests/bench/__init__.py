"""`python -m tests.bench`: figures that are ratios within one run; results in .build/bench.json."""
