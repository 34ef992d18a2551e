"""Tests of the dashboards' shell: sessions, formats, forms, pages."""
