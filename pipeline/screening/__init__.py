"""Screening by lists of known hashes and by services, before a picture is stored, shown or scored."""
