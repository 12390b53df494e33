"""Small objects of every type, for tests of this package and of others."""
