"""Several models into one."""
