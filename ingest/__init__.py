"""The way of a tick into the lake: tap, spool, micro-batch writer, quarantine and sources."""
