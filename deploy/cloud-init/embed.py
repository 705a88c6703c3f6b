"""Carries deploy/systemd into nplb.yaml, word for word: `make cloud-init`."""

import re
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
SYSTEMD = HERE.parent / "systemd"
FILES = {
    "/etc/systemd/system/nplb.service": "nplb.service",
    "/usr/lib/sysusers.d/nplb.conf": "nplb.sysusers",
    "/usr/lib/tmpfiles.d/nplb.conf": "nplb.tmpfiles",
}


def embedded(text: str) -> str:
    """The VM's file with the files of systemd as they are now."""
    for path, source in FILES.items():
        head = f"  - path: {path}\n    content: |\n"
        before, found, rest = text.partition(head)
        assert found, path
        after = re.search(r"^(?=  - path:|runcmd:)", rest, re.MULTILINE)
        assert after is not None
        body = textwrap.indent((SYSTEMD / source).read_text(), " " * 6)
        text = f"{before}{head}{body}\n{rest[after.start() :]}"
    return text


if __name__ == "__main__":
    target = HERE / "nplb.yaml"
    target.write_text(embedded(target.read_text()))
