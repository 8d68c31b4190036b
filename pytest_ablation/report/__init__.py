"""The findings, rendered: a page and a table in the terminal."""
