"""Simulated sessions with known answers."""
