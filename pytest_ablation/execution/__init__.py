"""Who trains: worker processes on this machine, or pytest's own process."""
