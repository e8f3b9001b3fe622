"""Features, labels, training, attributions and signals; nothing is here yet."""
