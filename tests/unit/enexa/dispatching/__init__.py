"""Tests of Enexa."""
