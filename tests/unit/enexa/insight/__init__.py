"""Tests of the dashboards' views."""
