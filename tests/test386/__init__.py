"""The public test of processors test386.asm (github.com/barotto/test386.asm), hosted as a ROM.

`python -m tests.test386 CHECKOUT` assembles a checkout's own sources and runs them. Neither these
nor what becomes of them are a part of this repository.
"""
