"""Generate the patches from the example models (``make patches``), or with ``--check`` report outdated ones.

A patch only adds files to a host's ``models/``, so it applies to every version and contains no code of the host.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
PATCHES = EXAMPLES.parent / "patches"
# The example models that each family's patch adds.
FAMILIES = {
    "pytorch-CycleGAN-and-pix2pix": ("distill_pix2pix_model.py", "distill_cycle_gan_model.py"),
    "contrastive-unpaired-translation": ("distill_cut_model.py",),
}


def patch(names: tuple[str, ...]) -> str:
    """Return a patch in git's format that adds example models to ``models/``."""
    parts = []
    for name in names:
        content = (EXAMPLES / name).read_bytes()
        lines = content.decode().splitlines()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        parts += [
            f"diff --git a/models/{name} b/models/{name}",
            "new file mode 100644",
            f"index 0000000..{blob[:7]}",
            "--- /dev/null",
            f"+++ b/models/{name}",
            f"@@ -0,0 +1,{len(lines)} @@",
            *(f"+{line}" for line in lines),
        ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Write all patches, or with ``--check`` report outdated ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a patch is outdated")
    options = parser.parse_args()
    stale = False
    for family, names in FAMILIES.items():
        file, text = PATCHES / f"{family}.patch", patch(names)
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale = True
        print(f"{file.name} {'is outdated: run make patches' if options.check else 'written'}")
        if not options.check:
            file.write_text(text, encoding="utf-8", newline="\n")
    return int(stale and options.check)


if __name__ == "__main__":
    sys.exit(main())
