"""A few tiles, looked at closely."""
