"""Pictures that say nothing, kept out of the search for copies: blank ones, and placeholders in very many files.

Each would make giant groups: all blank pictures have about the same hash, and a placeholder lies under every label.
"""

import numpy as np
import numpy.typing as npt

from pipeline.duplicates import candidates
from pipeline.duplicates.candidates import Integers, Words
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.params.dedupe import Dedupe


def reasons(
    prints: Fingerprints, files: Integers, entropy: npt.NDArray[np.float64], params: Dedupe
) -> npt.NDArray[np.str_]:
    """Return why each picture is set aside, "" where it is not.

    `files`: how many files held the content. `entropy`: of its grey levels, bits.
    """
    found = np.full(len(files), "", dtype="U80")
    blank = prints.contrast < params.blank
    found[blank] = [f"blank: contrast {value:g}, below {params.blank:g}" for value in prints.contrast[blank]]
    counts, stand_in = _crowds(prints.hashes[:, 0], np.where(blank, 0, files), entropy, params)
    placeholders = ~blank & (stand_in >= 0)
    found[placeholders] = [f"placeholder: nearly the same in {counts[row]} files" for row in stand_in[placeholders]]
    return found


def _crowds(
    full: Words, files: Integers, entropy: npt.NDArray[np.float64], params: Dedupe
) -> tuple[Integers, Integers]:
    """Return the files within a few bits of each picture, and for each the placeholder that it resembles, or -1.

    No chains: a picture resembles a placeholder itself, not something that resembles one.
    """
    limit = params.placeholder
    first = candidates.collapse(full[:, None])
    unique = np.unique(first)
    bands = candidates.draw_bands(4 * (limit.distance + 1), 16, 256)
    pairs = candidates.search(np.ascontiguousarray(full[unique][:, None]), bands, limit.distance, hot=params.hot)
    left, right = unique[pairs.left], unique[pairs.right]
    own = np.bincount(first, weights=files, minlength=len(first)).astype(np.int64)
    counts = own.copy()
    np.add.at(counts, left, own[right])
    np.add.at(counts, right, own[left])
    core = (counts >= limit.any_files) | ((counts >= limit.files) & (entropy < limit.entropy))
    core &= first == np.arange(len(first))
    stand_in = np.where(core, np.arange(len(first)), -1)
    for one, other in ((left, right), (right, left)):
        near = core[other] & (stand_in[one] < 0)
        stand_in[one[near]] = other[near]
    return counts, stand_in[first]
