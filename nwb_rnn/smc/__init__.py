"""Particles: sequential Monte Carlo for the stochastic low-rank RNN."""
