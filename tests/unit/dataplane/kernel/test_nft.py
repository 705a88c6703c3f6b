"""Running nft, by a program that stands in for it."""

from pathlib import Path

import pytest

from nplb.dataplane.kernel.nft import Nft, NftError

PROGRAM = """\
#!/bin/sh
case "$4" in
missing) echo "Error: No such file or directory" >&2; exit 1 ;;
slow) sleep 0.3; touch "$0.ended" ;;
esac
echo '{"nftables": [{"table": {"name": "'$4'"}}]}'
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "nft"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


async def test_several_lists_are_one(program: Path) -> None:
    things = await Nft(str(program)).listing_many(["table one", "table slow", "table two"])
    assert [thing["table"]["name"] for thing in things] == ["one", "slow", "two"]


async def test_a_list_that_fails_leaves_no_other_behind(program: Path) -> None:
    with pytest.raises(NftError) as caught:
        await Nft(str(program)).listing_many(["table missing", "table slow"])
    assert caught.value.missing
    assert program.with_name("nft.ended").exists()
