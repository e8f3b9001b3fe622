"""Features, labels, training, attributions and signals."""
