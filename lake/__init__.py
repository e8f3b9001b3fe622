"""Delta tables and the DuckDB session: append exactly once, read at a version or a time.

This room knows nothing of options, strikes or exchanges.
"""
