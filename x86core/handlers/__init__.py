"""The meaning of every instruction, a file per family. isa.py says which opcodes mean what."""
