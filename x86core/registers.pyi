class Segment:
    """A segment register with its hidden part, live.

    `selector`; `base`; `limit` in bytes, the last valid offset; `access`: the access byte in bits
    0-7 and AVL, L, D/B and G in bits 12-15, as in the second doubleword of a descriptor (SDM vol. 3,
    3.4.5). Setting one raises ValueError when it does not fit, RuntimeError while the vCPU runs.
    """

    selector: int
    base: int
    limit: int
    access: int
