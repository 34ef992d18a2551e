"""Tests of market."""
