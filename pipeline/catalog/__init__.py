"""The measures of each content: format, size, quality and fingerprint."""
