"""Rows of files, in the forms that public data has."""
