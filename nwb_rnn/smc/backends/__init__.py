"""Ways to run one pass of the particle filter; `reference` defines what all of them compute."""
