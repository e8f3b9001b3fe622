"""What is known: table contracts, exchanges, session calendar, lot sizes, batches.

This room does not know how data got here.
"""
