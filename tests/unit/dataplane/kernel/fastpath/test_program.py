"""The compiled program that is shipped."""

import hashlib
from importlib.resources import files

import pytest

from nplb.dataplane.kernel import fastpath
from nplb.dataplane.kernel.fastpath.layout import MAPS
from nplb.dataplane.kernel.fastpath.program import OBJECT, SOURCE, read_object, stamp
from nplb.model.errors import HostError

FOLDER = files(fastpath)


def test_the_object_is_that_of_the_source() -> None:
    source = hashlib.sha256((FOLDER / SOURCE).read_bytes()).hexdigest()
    assert stamp((FOLDER / OBJECT).read_bytes()) == source, "run `make bpf`"


def test_it_refers_to_maps_that_are_laid_out() -> None:
    program = read_object((FOLDER / OBJECT).read_bytes())
    assert {name for _, name in program.places} == set(MAPS)


def test_what_is_no_program_is_said() -> None:
    with pytest.raises(HostError, match="install nplb again"):
        read_object(b"\x7fELF\x01\x01" + bytes(100))
