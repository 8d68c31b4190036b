"""The figures that the README and the guide quote, each with the command that makes it."""
