"""Real threads over every boundary of the monitor at once: no handoff may be lost."""
