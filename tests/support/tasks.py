"""Functions that worker processes can import."""

import os
import time


def sleepy(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def process_id(_: int) -> int:
    return os.getpid()


def inverse(number: int) -> float:
    return 1 / number
