"""Protected mode: descriptors, privilege levels, gates, tasks, paging, virtual-8086 mode."""
