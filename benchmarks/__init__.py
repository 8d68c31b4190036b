"""The figures that the README quotes, each with the command that makes it."""
