"""Training of sonde's detector: data, augmentation, network, export."""
