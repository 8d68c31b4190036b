"""Who trains: each trainer is a function `train(trial, data, progress) -> Run`."""
