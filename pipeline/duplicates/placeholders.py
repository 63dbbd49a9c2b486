"""Set aside pictures without information, before the search for copies: blank ones, and placeholders in many files.

They would make giant clusters: all blank pictures have about the same hash, and a placeholder occurs under every label.
"""

import numpy as np
import numpy.typing as npt

from pipeline.duplicates import candidates
from pipeline.duplicates.candidates import Integers, Words
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.params.dedupe import Dedupe


def reasons(
    fingerprints: Fingerprints, files: Integers, entropy: npt.NDArray[np.float64], params: Dedupe
) -> npt.NDArray[np.str_]:
    """Return why each picture is set aside, or "" if it is not.

    `files`: the number of files with the content. `entropy`: of its grey levels, bits.
    """
    texts = np.full(len(files), "", dtype="U80")
    blank = fingerprints.contrast < params.blank_contrast
    texts[blank] = [
        f"blank: contrast {value:g}, below {params.blank_contrast:g}" for value in fingerprints.contrast[blank]
    ]
    counts, placeholder_of = _match_placeholders(fingerprints.hashes[:, 0], np.where(blank, 0, files), entropy, params)
    placeholders = ~blank & (placeholder_of >= 0)
    texts[placeholders] = [
        f"placeholder: nearly the same in {counts[row]} files" for row in placeholder_of[placeholders]
    ]
    return texts


def _match_placeholders(
    full: Words, files: Integers, entropy: npt.NDArray[np.float64], params: Dedupe
) -> tuple[Integers, Integers]:
    """Return the number of files within a few bits of each picture, and the row of the placeholder it resembles, or -1.

    There are no chains: a picture must resemble the placeholder itself, not another picture that resembles it.
    """
    limits = params.advanced
    first = candidates.first_equal(full[:, None])
    unique = np.unique(first)
    bands = candidates.draw_bands(4 * (limits.placeholder_distance + 1), 16, 256)
    pairs = candidates.search(
        np.ascontiguousarray(full[unique][:, None]), bands, limits.placeholder_distance, hot=limits.max_bucket
    )
    left, right = unique[pairs.left], unique[pairs.right]
    # The files of a content and of all that are near it; equal hashes are counted at the first one.
    own = np.bincount(first, weights=files, minlength=len(first)).astype(np.int64)
    counts = own.copy()
    np.add.at(counts, left, own[right])
    np.add.at(counts, right, own[left])
    # Placeholders themselves: in very many files, or in many files and plain.
    core = (counts >= params.placeholder_any_files) | (
        (counts >= params.placeholder_files) & (entropy < limits.placeholder_entropy)
    )
    core &= first == np.arange(len(first))
    placeholder_of = np.where(core, np.arange(len(first)), -1)
    # And pictures near one of them.
    for one, other in ((left, right), (right, left)):
        near = core[other] & (placeholder_of[one] < 0)
        placeholder_of[one[near]] = other[near]
    return counts, placeholder_of[first]
