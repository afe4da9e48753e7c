"""Freed memory that a network gets back without the kernel clearing it again."""

import platform
import subprocess
import sys

import pytest

# Where the kernel gives huge pages to all, each would count as one: PR_SET_THP_DISABLE.
PROGRAM = """
import ctypes
import resource
from contextlib import suppress
import numpy as np
from abdoseg.allocator import keep_freed_memory

assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.empty(96 << 20, dtype=np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(page_faults())
with keep_freed_memory():
    with suppress(ValueError), keep_freed_memory():
        raise ValueError
    print(page_faults())
print(page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is set")
def test_large_blocks_are_cleared_once_within_the_block_and_each_time_outside():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, within, after = map(int, run.stdout.split())
    pages = (96 << 20) // 4096
    assert within < 1.5 * pages, "eight blocks of one size take the pages of one"
    assert before > 7 * pages
    assert after > 7 * pages
