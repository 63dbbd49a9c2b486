"""From fingerprints to clusters of copies, and to what is learned from: labels settled, a report, an explanation."""
