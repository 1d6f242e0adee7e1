"""What holds for every unit test, before the first import."""

import os

# Two processes share the unit tests and the cores: a pool of threads in each would wait for the other's.
os.environ.setdefault("OMP_NUM_THREADS", "1")
