"""Random bytes as guest code: whatever a guest executes, the host process lives on.

`python -m tests.fuzz --count N --seed S` runs N of them in child processes.
"""
