"""Stands in for the build backend that xgrammar's source package names (tools/setup/fetch)."""
