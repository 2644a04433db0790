"""Guests that mean ill: they flood the VMM with exits and program its devices at random."""
